//! A spool seen from outside: listing, verifying, reading, emptying. All but the last work beside a running agent, and change nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::folder::{DEAD, Folder};
use super::partition::{Stored, stored};
use super::scan::{self, Found, Look, Wrong};
use super::walk::{Step, Walk, payload};
use crate::fault::Fault;

/// A spool's folder.
#[derive(Debug)]
pub struct Offline {
    folder: Folder,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It waits to be sent.
    Queue,
    /// The destination will never take it.
    DeadLetters,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is for.
    pub kind: Kind,
    /// What its parcels have in common; empty for the common partition.
    pub key: String,
    /// What is in it and not delivered.
    pub holding: Holding,
}

/// What is in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Parcels.
    pub batches: u64,
    /// Points and records.
    pub items: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files.
    pub segments: u64,
    /// When the oldest parcel was stored, in nanoseconds since 1970; none when there is none.
    pub oldest: Option<u64>,
}

/// What was found in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The partitions.
    pub partitions: Vec<Listed>,
    /// What is wrong, one line each; empty when all is well.
    pub problems: Vec<String>,
    /// Damaged places that an agent put aside earlier.
    pub put_aside: u64,
}

impl Offline {
    /// Opens the spool in a folder.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let folder = Folder { path: path.to_owned() };
        if !path.is_dir() {
            return Err(Fault::new(format!("{} is no folder", path.display())));
        }
        if !folder.was_a_spool() {
            return Err(Fault::new(format!("{} holds no sending queue", path.display())));
        }
        Ok(Self { folder })
    }

    /// The partitions, the queue before dead letters.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Fault> {
        Ok(self.listed(&self.scan(Look::Quick)?.0))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// When the files cannot be read at all.
    pub fn verify(&self) -> Result<Findings, Fault> {
        let (found, wrong) = self.scan(Look::Whole)?;
        let problem = |Wrong { prefix, first, from, to }: Wrong| {
            let name = self.folder.segment(&prefix, first);
            format!("{}: bytes {from} to {to} are damaged", name.display())
        };
        let problems = wrong.into_iter().map(problem).collect();
        let put_aside = self.folder.put_aside_count().map_err(|error| self.fault(error))?;
        Ok(Findings { partitions: self.listed(&found), problems, put_aside })
    }

    /// Gives all parcels of a kind, partition after partition, in their order. `only` names one partition by its key.
    ///
    /// # Errors
    /// When the files cannot be read, or `give` does not take one. What is damaged is left out.
    pub fn read(
        &self,
        kind: Kind,
        only: Option<&str>,
        give: &mut dyn FnMut(&str, Stored) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for (prefix, found) in self.scan(Look::Quick)?.0 {
            let key = found.key.as_deref().unwrap_or_default();
            if kind_of(&prefix) != kind || only.is_some_and(|only| only != key) {
                continue;
            }
            let mut last = found.delivered;
            // The agent that runs delivers, folds and deletes: what a file held may stand in one that was passed. It is known by its number.
            while !self.read_partition(&prefix, &mut last, &mut |stored| give(key, stored))? {}
        }
        Ok(())
    }

    /// Gives what has higher numbers than `last`. False when a file went away meanwhile, and the rest is to be looked for.
    fn read_partition(
        &self,
        prefix: &str,
        last: &mut u64,
        give: &mut dyn FnMut(Stored) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let segments = self.folder.segments().map_err(|error| self.fault(error))?;
        for (_, first) in segments.iter().filter(|(of, _)| of == prefix) {
            match File::open(self.folder.segment(prefix, *first)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                file => self.read_segment(&file.map_err(|error| self.fault(error))?, last, give)?,
            }
        }
        Ok(true)
    }

    fn read_segment(
        &self,
        file: &File,
        last: &mut u64,
        give: &mut dyn FnMut(Stored) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut walk = Walk::new(file).map_err(|error| self.fault(error))?;
        loop {
            match walk.step().map_err(|error| self.fault(error))? {
                Step::End => return Ok(()),
                Step::Frame(head, at) if head.seq > *last => {
                    if let Some(payload) = payload(file, &head, at).map_err(|error| self.fault(error))? {
                        *last = head.seq;
                        give(stored(&head, payload))?;
                    }
                }
                Step::Frame(..) | Step::Damaged { .. } => {}
            }
        }
    }

    /// Deletes all parcels of a kind, or of one partition, and gives how many there were.
    ///
    /// # Errors
    /// When an agent has the spool open, or the files cannot be deleted.
    pub fn purge(&self, kind: Kind, only: Option<&str>) -> Result<Holding, Fault> {
        let _lock = self.folder.lock()?;
        let mut gone = Holding::default();
        for (prefix, found) in self.scan(Look::Quick)?.0 {
            if kind_of(&prefix) != kind || only.is_some_and(|only| only != found.key.as_deref().unwrap_or_default()) {
                continue;
            }
            for first in found.segments.iter().map(|segment| segment.first).chain(found.finished.iter().copied()) {
                self.folder.delete(&prefix, first).map_err(|error| self.fault(error))?;
            }
            let Holding { batches, items, bytes, segments, .. } = holding(&found);
            gone.batches += batches;
            gone.items += items;
            gone.bytes += bytes;
            gone.segments += segments;
            // Numbers must not begin anew behind a position that stands: the position goes with what it speaks of.
            self.folder.forget_position(&prefix);
        }
        self.folder.sync().map_err(|error| self.fault(error))?;
        Ok(gone)
    }

    fn scan(&self, look: Look) -> Result<(BTreeMap<String, Found>, Vec<Wrong>), Fault> {
        let mut wrong = Vec::new();
        let found = scan::scan(&self.folder, look, &mut wrong).map_err(|error| self.fault(error))?;
        Ok((found, wrong))
    }

    fn listed(&self, found: &BTreeMap<String, Found>) -> Vec<Listed> {
        let list = |(prefix, found): (&String, &Found)| Listed {
            kind: kind_of(prefix),
            key: found.key.clone().unwrap_or_default(),
            holding: holding(found),
        };
        let mut listed: Vec<_> = found.iter().map(list).collect();
        listed.sort_by(|one, two| (one.kind, &one.key).cmp(&(two.kind, &two.key)));
        listed
    }

    fn fault(&self, error: io::Error) -> Fault {
        Fault::new(format!("cannot read the queue in {}", self.folder.path.display())).caused_by(error)
    }
}

fn kind_of(prefix: &str) -> Kind {
    if prefix == DEAD { Kind::DeadLetters } else { Kind::Queue }
}

fn holding(found: &Found) -> Holding {
    let sum = |of: fn(&super::partition::Segment) -> u64| found.segments.iter().map(of).sum();
    Holding {
        batches: sum(|segment| segment.batches),
        items: sum(|segment| segment.items),
        bytes: sum(|segment| segment.end),
        segments: found.segments.len() as u64,
        oldest: found.segments.first().map(|segment| segment.oldest),
    }
}
