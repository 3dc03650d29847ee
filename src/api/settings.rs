//! A client as the settings want it: `run`, a reload and `doctor` must not differ in what they take for usable.

use std::path::Path;
use std::sync::Arc;

use super::{Client, Options};
use crate::clock::Clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::roots;

impl Client {
    /// A client of the platform in `config`, with its own certificate authorities and the environment's proxy.
    ///
    /// # Errors
    /// What is wrong with the authorities' file, or with the system's, and the code to end with.
    pub fn of(config: &Config, clock: Arc<Clock>) -> Result<Self, (Exit, String)> {
        let file = config.ca_file.as_deref();
        let named =
            |path: &Path, why: &dyn std::fmt::Display| format!("EDGE_GATEWAY_CA_FILE {}: {why}", path.display());
        let pem = match file {
            Some(path) => Some(roots::pem_file(path).map_err(|why| (Exit::NoInput, named(path, &why)))?),
            None => None,
        };
        let options = Options { extra_ca_pem: pem.as_deref(), ..Options::new(config.domain.clone(), clock) };
        Client::new(options).map_err(|why| match file {
            Some(path) => (Exit::Data, named(path, &why)),
            None => (Exit::Config, why),
        })
    }
}
