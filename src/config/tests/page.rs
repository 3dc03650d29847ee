//! What people read: `--help` and `docs/settings.md`.

use std::fmt::Write;

use super::*;

#[test]
fn the_documented_defaults_are_the_real_ones() {
    let config = on("run").config();
    let default = |id: Id| TABLE[id as usize].default;
    assert_eq!(default(Id::Domain), config.domain.as_str());
    assert_eq!(default(Id::RelayPort), config.relay_port.to_string());
    assert_eq!(default(Id::MaxTunnels), config.max_tunnels.to_string());
    assert_eq!(default(Id::Memory), format!("{}MiB", config.memory >> 20));
    assert_eq!(default(Id::Log), config.log);
    assert!(default(Id::StateDir).starts_with(config.state_dir.to_str().unwrap()));
}

#[test]
fn help_and_version_need_nothing_else() {
    for line in ["help", "--help", "run -h", "--version --help"] {
        assert_eq!(on(line).by_user().request(), Ok(Request::Help), "{line}");
    }
    for line in ["version", "--version", "-V"] {
        assert_eq!(on(line).by_user().env("EDGE_GATEWAY_NONSENSE", "1").request(), Ok(Request::Version), "{line}");
    }
    let help = help();
    for setting in &TABLE {
        assert!(help.contains(setting.key) && help.contains(setting.help), "{}", setting.key);
    }
    assert!(help.lines().all(|line| line.len() <= 120), "a line of the help is too long");
}

/// `docs/settings.md` holds exactly the settings of the table.
#[test]
fn the_page_is_the_table() {
    let mut table = String::from("| setting | flag | default | what it is | example |\n|---|---|---|---|---|\n");
    for setting in &TABLE {
        let older = setting.older.iter().map(|key| format!("<br>older: `{key}`")).collect::<String>();
        let file = if setting.is_secret() { format!("<br>`{}_FILE`", setting.key) } else { String::new() };
        let flags = setting.flags.iter().map(|flag| {
            let file = if setting.is_secret() { format!("<br>`--{flag}-file`") } else { String::new() };
            format!("`--{flag}`{file}")
        });
        let flags = flags.collect::<Vec<_>>().join("<br>older: ");
        let default = if setting.default.is_empty() { "-" } else { setting.default };
        writeln!(
            table,
            "| `{}`{file}{older} | {flags} | {default} | {} | `{}` |",
            setting.key,
            setting.help,
            error::example(setting)
        )
        .unwrap();
    }
    assert!(include_str!("../../../docs/settings.md").contains(&table), "docs/settings.md needs this table:\n{table}");
}
