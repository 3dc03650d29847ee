//! New settings for a running agent (SIGHUP).

use super::Supervisor;
use crate::config::{self, Config, Request, Sources};

impl Supervisor<'_> {
    /// Reads the settings again. `Some` when the agent must start over for them.
    pub(super) fn reload(&mut self) -> Option<Box<Config>> {
        self.notifier.reloading();
        let changed = match config::load(Sources::of_process()) {
            Ok(Request::Work(config)) => config,
            Ok(_) => return None,
            Err(error) => {
                log::error!("the settings are not changed: {error}");
                self.notifier.ready("the new settings were refused");
                return None;
            }
        };
        for warning in &changed.warnings {
            log::warn!("{warning}");
        }
        let standing = Config { allow: None, deny: None, ..self.config.clone() };
        let same = Config {
            allow: None,
            deny: None,
            warnings: standing.warnings.clone(),
            given: standing.given.clone(),
            ..(*changed).clone()
        } == standing;
        if !same {
            log::info!("the settings have changed: starting over with them");
            return Some(changed);
        }
        let before = std::mem::replace(&mut self.config, *changed);
        match self.context() {
            Ok(context) => {
                if let Some(serving) = &self.serving {
                    serving.set_context(context);
                }
                log::info!("settings read again");
            }
            Err(_) => self.config = before,
        }
        self.notifier.ready("settings read again");
        None
    }
}
