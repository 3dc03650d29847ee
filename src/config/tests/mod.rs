//! The whole of `load`, from arguments, environment and files to a configuration or its refusal.

mod auth;
mod page;
mod sources;
mod values;

use std::collections::HashMap;
use std::io;

use zeroize::Zeroizing;

use super::*;
use crate::exit::Exit;
use crate::secret::Secret;

const UUID: &str = "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab";
const OWN: &str = "/etc/edge-gateway/edge-gateway.conf";

/// A box: what is on its command line, in its environment and on its disk.
#[derive(Default)]
struct Setup {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    files: Disk,
    user: bool,
}

#[derive(Default)]
struct Disk(HashMap<PathBuf, (String, u32)>);

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Content> {
        let (text, mode) = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        if *mode == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Content { text: Zeroizing::new(text.clone()), mode: *mode })
    }
}

fn on(command_line: &str) -> Setup {
    Setup { arguments: command_line.split_whitespace().map(str::to_owned).collect(), ..Setup::default() }
}

impl Setup {
    fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.file_mode(path, text, 0o600)
    }

    fn file_mode(mut self, path: &str, text: &str, mode: u32) -> Self {
        self.files.0.insert(PathBuf::from(path), (text.to_owned(), mode));
        self
    }

    fn by_user(mut self) -> Self {
        self.user = true;
        self
    }

    fn request(&self) -> Result<Request, ConfigError> {
        load(Sources {
            arguments: self.arguments.iter().map(OsString::from).collect(),
            environment: self.environment.iter().map(|(key, value)| (key.into(), value.into())).collect(),
            is_root: !self.user,
            files: &self.files,
        })
    }

    #[track_caller]
    fn config(&self) -> Config {
        match self.request() {
            Ok(Request::Work(config)) => *config,
            other => panic!("no configuration: {other:?}"),
        }
    }

    /// The refusal, which must be one line and hold all of `parts`.
    #[track_caller]
    fn refused(&self, exit: Exit, parts: &[&str]) -> String {
        let error = self.request().expect_err("accepted");
        let message = error.to_string();
        assert_eq!(error.exit(), exit, "{message}");
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        message
    }
}
