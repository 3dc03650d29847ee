//! The state in a real folder.

mod bytes;
mod crash;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::bundle::tests::sample;
use crate::secret::Secret;

/// A folder of its own for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("edge-gateway-state-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.file(name)).unwrap().permissions().mode() & 0o777
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A full record.
fn record() -> Record {
    let relay = |name: &str| Some(Relay { name: name.to_owned(), host: format!("{name}.example.com") });
    Record {
        domain: Some("https://app.infisical.com".to_owned()),
        gateway_name: Some("branch-7".to_owned()),
        gateway_id: Some(sample().gateway_id),
        access: Some(Access { kind: TokenKind::Gateway, token: Secret::from("hunter2-access") }),
        enrolled_with: Some(Fingerprint::of(&Secret::from("hunter2-once"))),
        bundle: Some(sample()),
        relay: relay("eu-1"),
        runner_up: relay("eu-2"),
        passing: Passing { last_good_time: 1_800_000_000, api_failures: 1, relay_failures: 2 },
    }
}

#[test]
fn saved_and_found_again() {
    let folder = Folder::new();
    let mut opened = open(&folder.0).unwrap();
    assert_eq!((&opened.record, opened.found.from, &opened.warnings), (&Record::default(), From::Nothing, &Vec::new()));
    assert_eq!(opened.store.save(&record()), Ok(true));
    assert_eq!((folder.names(), folder.mode("state")), (vec!["state".to_owned()], 0o600));
    drop(opened);
    let opened = open(&folder.0).unwrap();
    assert_eq!((opened.record, opened.found.from), (record(), From::State));
    assert_eq!(opened.found.set_aside, None);
}

#[test]
fn written_only_when_something_changed() {
    let folder = Folder::new();
    let mut record = record();
    let mut opened = open(&folder.0).unwrap();
    opened.store.save(&record).unwrap();
    drop(opened);
    let mut store = open(&folder.0).unwrap().store;
    record.passing.last_good_time += 60;
    record.passing.relay_failures += 1;
    assert_eq!(store.save(&record), Ok(false));
    assert_eq!(store.save_all(&record), Ok(true));
    record.relay = None;
    assert_eq!(store.save(&record), Ok(true));
    assert_eq!(store.save(&record), Ok(false));
    assert_eq!(peek(&folder.0), Ok(Some(record)));
}

#[test]
fn the_folder_is_made_and_only_for_its_owner() {
    let folder = Folder::new();
    let path = folder.file("a/b");
    open(&path).unwrap().store.save(&record()).unwrap();
    assert_eq!((folder.mode("a/b"), folder.mode("a/b/state")), (0o700, 0o600));
}

#[test]
fn two_agents_on_one_folder() {
    let folder = Folder::new();
    assert!(!is_in_use(&folder.0));
    let first = open(&folder.0).unwrap();
    let refusal = open(&folder.0).unwrap_err().to_string();
    assert!(refusal.contains(folder.0.to_str().unwrap()) && refusal.contains("EDGE_GATEWAY_STATE_DIR="), "{refusal}");
    assert!(is_in_use(&folder.0));
    assert_eq!(peek(&folder.0), Ok(None));
    drop(first);
    assert!(open(&folder.0).is_ok());
}

#[test]
fn a_damaged_file_is_kept_beside_and_told() {
    let folder = Folder::new();
    for n in 0..STATE_KEPT + 2 {
        fs::write(folder.file("state"), format!("EGWS damaged {n}")).unwrap();
        assert!(peek(&folder.0).is_err());
        let opened = open(&folder.0).unwrap();
        let kept = format!("state.bad-{}", n.min(STATE_KEPT - 1));
        assert_eq!(fs::read_to_string(folder.file(&kept)).unwrap(), format!("EGWS damaged {n}"));
        let loss = opened.found.loss(&folder.0).unwrap();
        assert!(loss.contains(&kept) && loss.contains("enrol again") && !loss.contains('\n'), "{loss}");
        assert_eq!((opened.record, opened.found.from), (Record::default(), From::Nothing));
    }
    assert_eq!(folder.names(), ["state.bad-0", "state.bad-1", "state.bad-2"]);
    assert_eq!(fs::read_to_string(folder.file("state.bad-0")).unwrap(), "EGWS damaged 0");
}

#[test]
fn a_newer_file_is_kept_for_the_newer_program() {
    let folder = Folder::new();
    let mut newer = b"EGWS\x07\x00\x00\x00\x00\x00".to_vec();
    // The checksum of the ten bytes above, from an independent program (Python's zlib.crc32).
    newer.extend(0x7131_f311_u32.to_le_bytes());
    fs::write(folder.file("state"), &newer).unwrap();
    let mut opened = open(&folder.0).unwrap();
    assert_eq!(opened.found.set_aside, Some((Damage::Newer(7), Some("state.v7".to_owned()))));
    opened.store.save(&record()).unwrap();
    assert_eq!(fs::read(folder.file("state.v7")).unwrap(), newer);
    assert_eq!(folder.names(), ["state", "state.v7"]);
}

#[test]
fn an_interrupted_save_is_completed() {
    let folder = Folder::new();
    open(&folder.0).unwrap().store.save(&record()).unwrap();
    let newer = Record { relay: None, ..record() };
    fs::write(folder.file("state.new"), &encode(&newer).unwrap().bytes[..]).unwrap();
    let opened = open(&folder.0).unwrap();
    assert_eq!((&opened.record, opened.found.from), (&newer, From::Interrupted));
    assert_eq!((folder.names(), peek(&folder.0)), (vec!["state".to_owned()], Ok(Some(newer))));
}

#[test]
fn half_a_save_is_ignored_and_replaced() {
    let folder = Folder::new();
    open(&folder.0).unwrap().store.save(&record()).unwrap();
    fs::write(folder.file("state.new"), b"EGWS\x01").unwrap();
    let mut opened = open(&folder.0).unwrap();
    assert_eq!((&opened.record, opened.found.from), (&record(), From::State));
    opened.store.save(&Record::default()).unwrap();
    assert_eq!(folder.names(), ["state"]);
}

#[test]
fn wide_permissions_are_corrected_and_told() {
    let folder = Folder::new();
    open(&folder.0).unwrap().store.save(&record()).unwrap();
    fs::set_permissions(folder.file("state"), PermissionsExt::from_mode(0o644)).unwrap();
    let opened = open(&folder.0).unwrap();
    assert_eq!(folder.mode("state"), 0o600);
    assert!(opened.warnings[0].contains("0644"), "{:?}", opened.warnings);
}

/// A file where the folder should be: what root in a test can have of a folder that cannot be made or written.
#[test]
fn without_a_folder_the_agent_goes_on_in_memory() {
    let folder = Folder::new();
    fs::write(folder.file("blocked"), "").unwrap();
    let mut opened = open(&folder.file("blocked/state")).unwrap();
    assert_eq!(opened.record, Record::default());
    assert!(
        opened.warnings[0].contains("cannot be made") && opened.warnings[0].contains("restart"),
        "{:?}",
        opened.warnings
    );
    for _ in 0..2 {
        let error = opened.store.save(&record()).unwrap_err().to_string();
        assert!(
            error.contains("blocked/state") && error.contains("EDGE_GATEWAY_STATE_DIR") && !error.contains('\n'),
            "{error}"
        );
    }
}

#[test]
fn nothing_shows_a_secret() {
    let text = format!("{:?}", record());
    for secret in ["hunter2", "PRIVATE KEY", &format!("{:x}", sha_of_once())] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn sha_of_once() -> u128 {
    let sum = record::sha256(b"hunter2-once");
    u128::from_be_bytes(sum[..16].try_into().unwrap())
}

#[test]
fn a_token_is_known_again_by_its_fingerprint() {
    let of = |text| Fingerprint::of(&Secret::from(text));
    assert_eq!(of("once"), of("once"));
    assert_ne!(of("once"), of("twice"));
}
