//! What the agent remembers across restarts: one small file, written whole or not at all.
//!
//! A save writes `state.new`, waits for it to be on the medium, renames it to `state`, and waits for that. Power may
//! fail at any moment between: the next start finds the old record or the new one, never half of one. A file that
//! cannot be read as a state is kept beside (`state.bad-N`, `state.vN`), because it may hold the only copy of a token; one
//! that belongs to another user is left alone.

mod disk;
mod format;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub use format::{Damage, VERSION};
pub use record::{Access, Fingerprint, Passing, Record, Relay, TokenKind};

use crate::limits::{STATE_BYTES, STATE_KEPT};
use disk::{Disk, OsDisk};
use format::{decode, encode};

const STATE: &str = "state";
const NEW: &str = "state.new";

/// What opening the state found. [`Found::loss`] says what to tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the record comes from.
    pub from: From,
    /// A file that could not be used, and the name it is kept under. Without a name it could not be moved, and saving
    /// will try that first.
    pub set_aside: Option<(Damage, Option<String>)>,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// There was none: the record is empty.
    Nothing,
    /// The state file.
    State,
    /// A complete new file whose renaming was interrupted.
    Interrupted,
}

impl Found {
    /// One line about a file that was set aside.
    pub fn loss(&self, folder: &Path) -> Option<String> {
        let (damage, kept) = self.set_aside.as_ref()?;
        let file = folder.join(STATE);
        let kept = match (damage, kept) {
            (Damage::Denied, _) => "give it to this user (chown): until then nothing is saved".to_owned(),
            (_, Some(name)) => format!("kept as {name}"),
            (_, None) => "and cannot be moved out of the way".to_owned(),
        };
        let next = match self.from {
            From::Nothing => "without it the gateway must enrol again",
            From::State | From::Interrupted => "a complete newer file takes its place",
        };
        Some(format!("{} {damage}; {kept}; {next}", file.display()))
    }
}

/// The state, opened.
#[derive(Debug)]
pub struct Opened {
    /// To save with.
    pub store: Store,
    /// What was saved last, or nothing.
    pub record: Record,
    /// Where it comes from.
    pub found: Found,
    /// What deserves a word, one line each: wide permissions, a folder that cannot be locked or made.
    pub warnings: Vec<String>,
}

/// The folder is another agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    folder: PathBuf,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        write!(
            f,
            "another agent uses {folder}; stop it, or give this one a folder of its own: EDGE_GATEWAY_STATE_DIR=/data/second"
        )
    }
}

impl std::error::Error for InUse {}

/// A save that failed. What was saved before is still there, and the agent can go on with what it holds in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveError {
    folder: PathBuf,
    what: String,
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        write!(
            f,
            "the state cannot be saved in {folder}: {}; make room, give this user the folder, or set EDGE_GATEWAY_STATE_DIR",
            self.what
        )
    }
}

impl std::error::Error for SaveError {}

/// Opens the state in `folder`, which is made if need be, and keeps others out until the store is dropped.
///
/// # Errors
/// Another agent uses it. Everything else, from a damaged file to a medium that cannot be written, is told in
/// [`Opened`]: the agent can then still serve, from an empty record and in memory.
pub fn open(folder: &Path) -> Result<Opened, InUse> {
    let mut warnings = Vec::new();
    let disk = OsDisk::new(folder);
    let path = folder.display();
    if let Err(error) = disk.make_folder() {
        warnings
            .push(format!("the state folder {path} cannot be made: {error}; the enrolment will not survive a restart"));
    }
    let lock = match lock(folder) {
        Ok(lock) => Some(lock),
        Err(TryLockError::WouldBlock) => {
            return Err(InUse { folder: folder.to_owned() });
        }
        Err(TryLockError::Error(error)) => {
            if error.kind() != io::ErrorKind::NotFound {
                warnings.push(format!(
                    "the state folder {path} cannot be locked: {error}; a second agent would not be noticed"
                ));
            }
            None
        }
    };
    // An error here means that the file is not there, or not ours to change: reading it will tell.
    if let Ok(Some(mode)) = disk.tighten(STATE) {
        warnings
            .push(format!("{path}/{STATE} holds keys and others could read it (mode {mode:04o}); corrected to 0600"));
    }
    let (store, record, found) = Store::load(Box::new(disk), folder, lock);
    Ok(Opened { store, record, found, warnings })
}

/// Reads the state without changing, moving or locking anything: for `status`, while an agent runs. `None`: there is none.
///
/// # Errors
/// Why the file cannot be used, as one line.
pub fn peek(folder: &Path) -> Result<Option<Record>, String> {
    match read(&OsDisk::new(folder), STATE) {
        Ok(record) => Ok(record),
        Err(damage) => Err(format!("{} {damage}", folder.join(STATE).display())),
    }
}

/// Whether an agent holds the state in `folder`.
pub fn is_in_use(folder: &Path) -> bool {
    matches!(lock(folder), Err(TryLockError::WouldBlock))
}

/// The folder itself is locked: that needs no file and works on a read-only medium.
fn lock(folder: &Path) -> Result<File, TryLockError> {
    let file = File::open(folder).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

fn read(disk: &dyn Disk, name: &str) -> Result<Option<Record>, Damage> {
    match disk.read(name) {
        Ok(bytes) => decode(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Damage::Denied),
        Err(error) => Err(Damage::Unreadable(error.to_string())),
    }
}

/// Saves records.
pub struct Store {
    disk: Box<dyn Disk>,
    folder: PathBuf,
    /// What is on the medium, without what passes. `None`: nothing of ours.
    saved: Option<[u8; 32]>,
    /// A file that must be moved away before its place is taken.
    blocked: Option<Damage>,
    /// The new file is complete and has yet to be renamed: it is the only copy of what it holds.
    unsettled: bool,
    /// Held while the store lives.
    _lock: Option<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.folder.display())
    }
}

impl Store {
    fn load(disk: Box<dyn Disk>, folder: &Path, lock: Option<File>) -> (Self, Record, Found) {
        let folder = folder.to_owned();
        let mut store = Self { disk, folder, saved: None, blocked: None, unsettled: false, _lock: lock };
        let (state, new) = (read(&*store.disk, STATE), read(&*store.disk, NEW));
        let mut set_aside = None;
        if let Err(damage) = &state {
            store.blocked = Some(damage.clone());
            set_aside = Some((damage.clone(), store.set_aside().ok()));
        }
        let (from, record) = match (new, state) {
            // A finished save leaves no new file, so a complete one is younger than the state.
            (Ok(Some(record)), _) => {
                store.unsettled = true;
                if store.blocked.is_none() && store.settle().is_ok() {
                    store.saved = encode(&record).map(|encoded| encoded.lasting);
                }
                (From::Interrupted, record)
            }
            (_, Ok(Some(record))) => {
                store.saved = encode(&record).map(|encoded| encoded.lasting);
                (From::State, record)
            }
            _ => (From::Nothing, Record::default()),
        };
        (store, record, Found { from, set_aside })
    }

    /// Saves a record if it differs from the saved one in more than [`Record::passing`]. `true`: it was written.
    ///
    /// # Errors
    /// The medium is full, read-only or broken. What was saved before is intact; a later save tries anew.
    pub fn save(&mut self, record: &Record) -> Result<bool, SaveError> {
        self.write(record, false)
    }

    /// Saves a record, [`Record::passing`] included: for a clean stop.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_all(&mut self, record: &Record) -> Result<bool, SaveError> {
        self.write(record, true)
    }

    fn write(&mut self, record: &Record, all: bool) -> Result<bool, SaveError> {
        let Some(encoded) = encode(record) else {
            return Err(self.error(format!("it is larger than {STATE_BYTES} bytes")));
        };
        if !all && self.saved == Some(encoded.lasting) {
            return Ok(false);
        }
        self.replace(&encoded.bytes).map_err(|error| self.error(error.to_string()))?;
        self.saved = Some(encoded.lasting);
        Ok(true)
    }

    fn error(&self, what: String) -> SaveError {
        SaveError { folder: self.folder.clone(), what }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.blocked.is_some() {
            self.set_aside()?;
        }
        if self.unsettled {
            self.settle()?;
        }
        match self.disk.remove(NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.disk.create(NEW).and_then(|()| self.disk.write(bytes)).and_then(|()| self.disk.sync());
        if written.is_err() {
            // Room for others on a full medium. The next start ignores half a file, should this fail too.
            let _ = self.disk.remove(NEW);
            return written;
        }
        self.unsettled = true;
        self.settle()
    }

    /// Makes the new file the state.
    fn settle(&mut self) -> io::Result<()> {
        self.disk.rename(NEW, STATE)?;
        self.unsettled = false;
        self.disk.sync_folder()
    }

    /// Moves the unusable state file to a name of its own, and tells which.
    fn set_aside(&mut self) -> io::Result<String> {
        let name = match self.blocked {
            Some(Damage::Denied) => {
                return Err(io::Error::other(format!("{STATE} belongs to another user and is not overwritten")));
            }
            Some(Damage::Newer(version)) => format!("{STATE}.v{version}"),
            // The first ones are kept for good: they are the likeliest to hold a token. The last is replaced.
            _ => {
                let names = (0..STATE_KEPT).map(|n| format!("{STATE}.bad-{n}"));
                let last = format!("{STATE}.bad-{}", STATE_KEPT - 1);
                names.into_iter().find(|name| !self.disk.exists(name)).unwrap_or(last)
            }
        };
        self.disk.rename(STATE, &name)?;
        self.blocked = None;
        self.disk.sync_folder()?;
        Ok(name)
    }
}
