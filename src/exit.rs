//! What the process says when it ends: the codes of `sysexits.h`, so that a service manager can tell "fix the
//! configuration" from "try again". `docs/exit-codes.md` is this table.

use std::process::ExitCode;

/// Why the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// `EX_USAGE`.
    Usage = 64,
    /// `EX_DATAERR`.
    Data = 65,
    /// `EX_NOINPUT`.
    NoInput = 66,
    /// `EX_NOHOST`.
    NoHost = 68,
    /// `EX_UNAVAILABLE`.
    Unavailable = 69,
    /// `EX_OSERR`.
    Os = 71,
    /// `EX_CANTCREAT`.
    CantCreate = 73,
    /// `EX_IOERR`.
    Io = 74,
    /// `EX_TEMPFAIL`.
    TempFail = 75,
    /// `EX_PROTOCOL`.
    Protocol = 76,
    /// `EX_NOPERM`.
    NoPermission = 77,
    /// `EX_CONFIG`.
    Config = 78,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Exit; 13] = [
        Exit::Ok,
        Exit::Usage,
        Exit::Data,
        Exit::NoInput,
        Exit::NoHost,
        Exit::Unavailable,
        Exit::Os,
        Exit::CantCreate,
        Exit::Io,
        Exit::TempFail,
        Exit::Protocol,
        Exit::NoPermission,
        Exit::Config,
    ];

    /// The number that the parent process sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether the same command may succeed later without anybody changing anything. Where it may not, a service
    /// manager should not start it again (systemd: `RestartPreventExitStatus=`).
    pub fn restart_helps(self) -> bool {
        matches!(
            self,
            Exit::NoHost | Exit::Unavailable | Exit::Os | Exit::CantCreate | Exit::Io | Exit::TempFail | Exit::Protocol
        )
    }

    /// Name, meaning and what to do, as the documentation has them.
    pub fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Exit::Ok => ("OK", "stopped as asked, or the command did its work", "nothing"),
            Exit::Usage => (
                "EX_USAGE",
                "a command or flag that does not exist, or a flag's value is missing or malformed",
                "`edge-gateway --help`",
            ),
            Exit::Data => {
                ("EX_DATAERR", "the file of certificate authorities is damaged", "correct EDGE_GATEWAY_CA_FILE")
            }
            Exit::NoInput => {
                ("EX_NOINPUT", "a named file does not exist or cannot be read", "correct the path or its mode")
            }
            Exit::NoHost => ("EX_NOHOST", "the platform's name does not resolve", "check DNS and the domain"),
            Exit::Unavailable => {
                ("EX_UNAVAILABLE", "`status` or `doctor` found the gateway not working", "read the lines it printed")
            }
            Exit::Os => ("EX_OSERR", "the system refused memory, a thread or a socket", "free memory or raise limits"),
            Exit::CantCreate => (
                "EX_CANTCREAT",
                "the state folder is in use by another agent",
                "stop that one or set EDGE_GATEWAY_STATE_DIR",
            ),
            Exit::Io => ("EX_IOERR", "the state could not be written", "check space and mode of the state folder"),
            Exit::TempFail => ("EX_TEMPFAIL", "the platform, relay or network is down for now", "try again later"),
            Exit::Protocol => (
                "EX_PROTOCOL",
                "something else than an Infisical platform answered",
                "check the domain, proxy and captive portal",
            ),
            Exit::NoPermission => (
                "EX_NOPERM",
                "the platform refuses the token, secret or identity",
                "create a new token and enrol again",
            ),
            Exit::Config => (
                "EX_CONFIG",
                "a setting is missing, unknown, malformed or in conflict",
                "correct the setting that the message names",
            ),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_sorted() {
        assert!(Exit::ALL.is_sorted_by(|a, b| a.code() < b.code()));
    }

    #[test]
    fn what_a_person_must_fix_is_not_retried() {
        for exit in [Exit::Usage, Exit::Config, Exit::NoPermission, Exit::NoInput] {
            assert!(!exit.restart_helps(), "{exit:?}");
        }
        assert!(Exit::TempFail.restart_helps());
    }

    /// `docs/exit-codes.md` holds exactly this table.
    #[test]
    fn the_page_is_this_table() {
        let mut table = String::from("| code | name | meaning | what to do | start again? |\n|---|---|---|---|---|\n");
        for exit in Exit::ALL {
            let (name, meaning, remedy) = exit.describe();
            let again = match exit {
                Exit::Ok => "-",
                exit if exit.restart_helps() => "yes",
                _ => "no",
            };
            table += &format!("| {} | {name} | {meaning} | {remedy} | {again} |\n", exit.code());
        }
        let page = include_str!("../docs/exit-codes.md");
        assert!(page.contains(&table), "docs/exit-codes.md needs this table:\n{table}");
        let fatal: Vec<_> =
            Exit::ALL[1..].iter().filter(|exit| !exit.restart_helps()).map(|exit| exit.code().to_string()).collect();
        let line = format!("RestartPreventExitStatus={}", fatal.join(" "));
        assert!(page.contains(&line), "docs/exit-codes.md needs this line: {line}");
    }
}
