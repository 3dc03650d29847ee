//! Power cuts and failures after each file operation, on a medium that loses what was not synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use super::*;

type Names = BTreeMap<String, usize>;

/// A folder in memory, with what the system shows and what is on the medium kept apart.
#[derive(Clone, Default)]
struct Medium {
    /// File contents by number: as shown, and as synced.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    /// The folder as shown, after each change since it was last synced; the first is what is on the medium.
    names: Vec<Names>,
    open: usize,
    /// Operations until one fails.
    fuel: Option<u32>,
    /// Operations that fail once the fuel is used up: one (an error), or all (the power is gone).
    dead: bool,
    done: u32,
    /// The state file is another user's.
    denied: bool,
}

impl Medium {
    fn with(names: &[(&str, &[u8])]) -> Self {
        let files = names.iter().map(|(_, bytes)| (bytes.to_vec(), bytes.to_vec())).collect();
        let names = names.iter().enumerate().map(|(i, (name, _))| ((*name).to_owned(), i)).collect();
        Self { files, names: vec![names], ..Self::default() }
    }

    /// Counts an operation; an error when it is the one to fail.
    fn step(&mut self) -> io::Result<()> {
        self.done += 1;
        match &mut self.fuel {
            Some(0) => {
                if !self.dead {
                    self.fuel = None;
                }
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(fuel) => {
                *fuel -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn shown(&self) -> &Names {
        self.names.last().unwrap()
    }

    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.shown().clone();
        change(&mut names);
        self.names.push(names);
    }

    /// Every folder that can be left after a power cut: any number of the unsynced changes of names, and of each
    /// unsynced file nothing, half, or all.
    fn after_power_cut(&self) -> Vec<Medium> {
        let mut outcomes = Vec::new();
        for names in &self.names {
            for part in 0..3 {
                let files = self.files.iter().map(|(shown, synced)| {
                    let bytes = if shown == synced { synced.clone() } else { shown[..shown.len() * part / 2].to_vec() };
                    (bytes.clone(), bytes)
                });
                outcomes.push(Medium { files: files.collect(), names: vec![names.clone()], ..Medium::default() });
            }
        }
        outcomes
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Medium>>);

impl Shared {
    fn medium(&self) -> std::sync::MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }
}

impl Disk for Shared {
    fn read(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let medium = self.medium();
        if medium.denied && name == STATE {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let file = *medium.shown().get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Zeroizing::new(medium.files[file].0.clone()))
    }

    fn exists(&self, name: &str) -> bool {
        self.medium().shown().contains_key(name)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut medium = self.medium();
        medium.step()?;
        assert!(!medium.shown().contains_key(name), "{name} exists");
        medium.files.push(Default::default());
        medium.open = medium.files.len() - 1;
        let file = medium.open;
        medium.change(|names| {
            names.insert(name.to_owned(), file);
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut medium = self.medium();
        let result = medium.step();
        // A medium that runs full takes a part.
        let taken = if result.is_ok() { bytes.len() } else { bytes.len() / 3 };
        let open = medium.open;
        medium.files[open].0.extend(&bytes[..taken]);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut medium = self.medium();
        medium.step()?;
        let open = medium.open;
        medium.files[open].1 = medium.files[open].0.clone();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut medium = self.medium();
        medium.step()?;
        let file = *medium.shown().get(from).ok_or(io::ErrorKind::NotFound)?;
        medium.change(|names| {
            names.remove(from);
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut medium = self.medium();
        medium.step()?;
        if !medium.shown().contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        medium.change(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut medium = self.medium();
        medium.step()?;
        let shown = medium.shown().clone();
        medium.names = vec![shown];
        Ok(())
    }
}

fn start(medium: Medium) -> (Shared, Store, Record, Found) {
    let shared = Shared(Arc::new(Mutex::new(medium)));
    let (store, record, found) = Store::load(Box::new(shared.clone()), Path::new("/state"), None);
    (shared, store, record, found)
}

fn file(record: &Record) -> Vec<u8> {
    encode(record).unwrap().bytes.to_vec()
}

fn old() -> Record {
    Record { relay: None, ..record() }
}

/// Folders that a start can find, and the record that is in them.
fn beginnings() -> Vec<(Medium, Record)> {
    let (older, damaged) = (Record { bundle: None, ..record() }, b"EGWS?".as_slice());
    vec![
        (Medium::with(&[]), Record::default()),
        (Medium::with(&[("state", &file(&old()))]), old()),
        (Medium::with(&[("state", &file(&old())), ("state.new", damaged)]), old()),
        (Medium::with(&[("state", &file(&older)), ("state.new", &file(&old()))]), old()),
        (Medium::with(&[("state.new", &file(&old()))]), old()),
        (Medium::with(&[("state", damaged), ("state.new", &file(&old()))]), old()),
        (Medium::with(&[("state", damaged)]), Record::default()),
    ]
}

#[test]
fn a_power_cut_after_any_operation_leaves_the_old_or_the_new() {
    for (medium, before) in beginnings() {
        let mut fuel = 0;
        loop {
            let (shared, mut store, found, _) = start(Medium { fuel: Some(fuel), dead: true, ..medium.clone() });
            assert_eq!(found, before, "cut after {fuel}: what is read needs no writing");
            let saved = store.save(&record()).is_ok();
            for outcome in shared.medium().after_power_cut() {
                let (_, mut store, found, _) = start(outcome);
                let allowed = if saved { found == record() } else { found == before || found == record() };
                assert!(allowed, "cut after {fuel} operations: {found:?}");
                assert!(store.save(&record()).is_ok());
            }
            if saved {
                break;
            }
            fuel += 1;
        }
        assert!(fuel >= 5, "the cuts ended after {fuel} operations");
    }
}

#[test]
fn an_error_in_any_operation_loses_nothing_and_the_next_save_works() {
    for (medium, before) in beginnings() {
        for fuel in 0.. {
            let (shared, mut store, ..) = start(Medium { fuel: Some(fuel), ..medium.clone() });
            let result = store.save(&record());
            if let Err(error) = &result {
                assert!(error.to_string().contains("cannot be saved in /state"), "{error}");
                // The agent is restarted at this point.
                let (_, _, found, _) = start(shared.medium().after_power_cut().remove(0));
                assert!(found == before || found == record(), "error in operation {fuel}: {found:?}");
            }
            assert!(store.save(&record()).is_ok(), "error in operation {fuel}");
            let (_, _, found, _) = start(shared.medium().clone());
            assert_eq!(found, record(), "error in operation {fuel}");
            let medium = shared.medium();
            assert!(!medium.shown().contains_key("state.new"), "{:?}", medium.shown());
            // Fuel that is left means that no operation failed: all have had their turn.
            if medium.fuel.is_some() {
                break;
            }
        }
    }
}

#[test]
fn an_error_and_then_a_power_cut() {
    for (medium, before) in beginnings() {
        let each = (0..8).flat_map(|error| (0..8).map(move |cut| (error, cut)));
        for ((error, cut), tried) in each.flat_map(|each| [(each, false), (each, true)]) {
            let (shared, mut store, ..) = start(Medium { fuel: Some(error), ..medium.clone() });
            // The error comes in opening the state already, or in a save that is then tried again.
            if tried {
                let _ = store.save(&record());
            }
            {
                let mut medium = shared.medium();
                (medium.fuel, medium.dead) = (Some(cut), true);
            }
            let saved = store.save(&record()).is_ok();
            let outcomes = shared.medium().after_power_cut();
            for outcome in outcomes {
                let (_, _, found, _) = start(outcome);
                let allowed = found == record() || (!saved && found == before);
                assert!(allowed, "error at {error}, cut at {cut}: {found:?}");
            }
        }
    }
}

#[test]
fn a_damaged_file_that_cannot_be_moved_is_not_overwritten() {
    let damaged = b"EGWS?".as_slice();
    let (shared, mut store, _, found) =
        start(Medium { fuel: Some(0), dead: true, ..Medium::with(&[("state", damaged)]) });
    assert_eq!(found.set_aside, Some((Damage::Truncated, None)));
    assert!(found.loss(Path::new("/state")).unwrap().contains("cannot be moved"));
    assert!(store.save(&record()).is_err());
    assert_eq!(&shared.read("state").unwrap()[..], damaged);
    // The medium can be written again.
    shared.medium().fuel = None;
    assert_eq!(store.save(&record()), Ok(true));
    assert_eq!(&shared.read("state.bad-0").unwrap()[..], damaged);
}

/// What `sudo edge-gateway enroll` leaves to a service with a user of its own.
#[test]
fn another_users_file_is_left_alone() {
    let denied = Medium { denied: true, ..Medium::with(&[("state", &file(&old()))]) };
    let (shared, mut store, found, what) = start(denied);
    assert_eq!((found, what.set_aside.clone()), (Record::default(), Some((Damage::Denied, None))));
    let loss = what.loss(Path::new("/state")).unwrap();
    assert!(loss.contains("/state/state may not be read by this user; give it to this user (chown)"), "{loss}");
    let error = store.save(&record()).unwrap_err().to_string();
    assert!(error.contains("belongs to another user"), "{error}");
    shared.medium().denied = false;
    assert_eq!(&shared.read("state").unwrap()[..], file(&old()));
}

#[test]
fn a_save_without_change_touches_nothing() {
    let (shared, mut store, ..) = start(Medium::with(&[("state", &file(&old()))]));
    let before = shared.medium().done;
    assert_eq!(store.save(&old()), Ok(false));
    assert_eq!(shared.medium().done, before);
}
