//! What outlives a power cut: replays operations and tells durable from not yet durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::Rng;

use super::{FileId, Image, Op, Tear};

/// The most changes of names between two syncs of a folder: every subset of them is a disk of its own.
const MAX_PENDING: usize = 12;

/// What is durable after some operations, and what is not yet.
pub(super) struct Durable {
    /// Folders; making one is durable at once.
    dirs: BTreeSet<PathBuf>,
    /// Names as of the last sync of their folder.
    names: BTreeMap<PathBuf, FileId>,
    /// Changes of names since, in order.
    pending: Vec<Op>,
    /// Of every file that ever had a name.
    contents: BTreeMap<FileId, Content>,
}

#[derive(Clone, Default)]
struct Content {
    /// What was written.
    all: Vec<u8>,
    /// How much of it is durable.
    synced: usize,
    /// Whether a sync failed: then nothing more of it becomes durable.
    lost: bool,
}

impl Durable {
    pub(super) fn new(base: &Image) -> Self {
        // Ids as in `RecordingDisk::holding`.
        let names = base.files.keys().cloned().zip(0..).collect();
        let contents = base.files.values().map(|c| Content { all: c.clone(), synced: c.len(), lost: false });
        let contents = (0..).zip(contents).collect();
        Self { dirs: base.dirs.clone(), names, pending: Vec::new(), contents }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir(dir) => drop(self.dirs.insert(dir.clone())),
            Op::Create(_, id) => {
                self.contents.insert(*id, Content::default());
                self.pending.push(op.clone());
            }
            Op::Rename(..) | Op::Remove(_) => self.pending.push(op.clone()),
            Op::Write(id, bytes) => self.content(*id).all.extend_from_slice(bytes),
            Op::Sync(id) => {
                let content = self.content(*id);
                if !content.lost {
                    content.synced = content.all.len();
                }
            }
            Op::SyncFailed(id) => self.content(*id).lost = true,
            Op::Spoil(id, at) => self.content(*id).all[*at] ^= 0xff,
            Op::SyncDir(dir) => {
                let (synced, pending): (Vec<_>, _) =
                    std::mem::take(&mut self.pending).into_iter().partition(|op| op.dir() == Some(dir));
                synced.iter().for_each(|op| op.rename_in(&mut self.names));
                self.pending = pending;
            }
        }
    }

    fn content(&mut self, id: FileId) -> &mut Content {
        self.contents.entry(id).or_default()
    }

    /// One of [`outcomes`](Self::outcomes) with [`Tear::Coarse`].
    pub(super) fn outcome(&self, rng: &mut impl Rng) -> Image {
        let mut names = self.names.clone();
        self.pending.iter().filter(|_| rng.random()).for_each(|op| op.rename_in(&mut names));
        let mut content = |id| {
            let found = self.contents[id].outcomes(Tear::Coarse);
            found[rng.random_range(0..found.len())].clone()
        };
        let files = names.iter().map(|(path, id)| (path.clone(), content(id))).collect();
        Image { dirs: self.dirs.clone(), files }
    }

    pub(super) fn outcomes(&self, tear: Tear) -> BTreeSet<Image> {
        assert!(self.pending.len() <= MAX_PENDING, "{} changes of names without a sync", self.pending.len());
        let mut images = BTreeSet::new();
        for kept in 0..1_u32 << self.pending.len() {
            let mut names = self.names.clone();
            let kept = self.pending.iter().enumerate().filter(|(i, _)| kept & 1 << i != 0);
            kept.for_each(|(_, op)| op.rename_in(&mut names));
            let mut these = vec![Image { dirs: self.dirs.clone(), files: BTreeMap::new() }];
            for (path, id) in &names {
                let found = self.contents[id].outcomes(tear);
                these = these
                    .into_iter()
                    .flat_map(|image| {
                        found.iter().map(move |content| {
                            let mut image = image.clone();
                            image.files.insert(path.clone(), content.clone());
                            image
                        })
                    })
                    .collect();
            }
            images.extend(these);
        }
        images
    }
}

impl Op {
    /// The folder whose names it changes.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(path, ..) | Self::Remove(path) => path.parent(),
            _ => None,
        }
    }

    /// Does to `names` what it did to those of the running system, whether or not what came before it was kept.
    fn rename_in(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Create(path, id) => drop(names.insert(path.clone(), *id)),
            Self::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Self::Remove(path) => drop(names.remove(path)),
            _ => {}
        }
    }
}

impl Content {
    /// What may be found of it.
    fn outcomes(&self, tear: Tear) -> Vec<Vec<u8>> {
        let (synced, all) = (self.synced, self.all.len());
        if synced == all {
            return vec![self.all.clone()];
        }
        let lengths: Vec<_> = match tear {
            Tear::EveryByte => (synced..=all).collect(),
            Tear::Coarse => vec![synced, usize::midpoint(synced, all), all],
        };
        let mut outcomes: Vec<_> = lengths.into_iter().map(|length| self.all[..length].to_vec()).collect();
        // The length may be durable before the content is.
        let mut zeros = self.all.clone();
        zeros[synced..].fill(0);
        outcomes.push(zeros);
        outcomes
    }
}
