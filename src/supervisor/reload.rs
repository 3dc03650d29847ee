//! New settings for a running agent (SIGHUP).

use super::Supervisor;
use crate::api::Client;
use crate::config::{self, Config, Request, Sources};
use crate::logging;
use crate::state;
use crate::target::TargetPolicy;
use std::sync::Arc;

impl Supervisor<'_> {
    /// Reads the settings again, and leaves them in [`Supervisor::changed`] when the agent must start over for them. Settings that
    /// the start would refuse change nothing: the agent goes on serving with those that it has.
    pub(super) fn reload(&mut self) {
        self.notifier.reloading();
        let (changed, client) = match self.usable() {
            Ok(usable) => usable,
            Err(why) => {
                log::error!("the settings are not changed: {why}");
                return self.notifier.ready("the new settings were refused");
            }
        };
        for warning in &changed.warnings {
            log::warn!("{warning}");
        }
        logging::init(&changed.log, changed.log_style);
        if !is_followed_at_once(&self.config, &changed) {
            log::info!("the settings have changed: starting over with them");
            self.changed = Some(changed);
            return;
        }
        self.changed = None;
        self.config = *changed;
        // The file of certificate authorities may have other contents.
        self.client = Arc::new(client);
        // It was looked at above.
        if let (Some(serving), Ok(context)) = (&self.serving, self.context()) {
            serving.set_context(context);
        }
        log::info!("settings read again");
        self.notifier.ready("settings read again");
    }

    /// The settings as they are now, and a client for them, if the agent would start with them.
    fn usable(&self) -> Result<(Box<Config>, Client), String> {
        let Request::Work(changed) = config::load(Sources::of_process()).map_err(|error| error.to_string())? else {
            return Err("they ask for something else than to run".to_owned());
        };
        TargetPolicy::parse(changed.allow.as_deref(), changed.deny.as_deref()).map_err(|error| error.to_string())?;
        if changed.state_dir != self.config.state_dir && state::is_in_use(&changed.state_dir) {
            return Err(format!("another agent uses {}", changed.state_dir.display()));
        }
        let client = Client::of(&changed, self.clock.clone()).map_err(|(_, why)| why)?;
        Ok((changed, client))
    }
}

/// Whether what has changed needs no new start: the policy, the log, and how to end. A new setting needs its place here.
fn is_followed_at_once(before: &Config, after: &Config) -> bool {
    let Config {
        command,
        domain,
        auth,
        gateway_name,
        gateway_id,
        relay_name,
        relay_port,
        relay_proxy,
        state_dir,
        ca_file,
        max_tunnels,
        memory,
        // These are.
        allow: _,
        deny: _,
        log: _,
        log_style: _,
        exit_pause: _,
        warnings: _,
        given: _,
    } = before;
    *command == after.command
        && *domain == after.domain
        && *auth == after.auth
        && *gateway_name == after.gateway_name
        && *gateway_id == after.gateway_id
        && *relay_name == after.relay_name
        && *relay_port == after.relay_port
        && *relay_proxy == after.relay_proxy
        && *state_dir == after.state_dir
        && *ca_file == after.ca_file
        && *max_tunnels == after.max_tunnels
        && *memory == after.memory
}
