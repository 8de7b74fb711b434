//! `outlast snapshot`: for people who want to know what is on the disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::snapshot::decode::Verified;
use crate::snapshot::disk::RealDisk;
use crate::snapshot::folder::newest;
use crate::snapshot::format::MAX_FILE_BYTES;
use crate::snapshot::header::{About, Header, KindDigest};
use crate::snapshot::verify::{Recompute, verify};
use crate::snapshot::{compare, export, show};
use crate::source::Wanted;
use crate::source::file;
use crate::zone::Table;
use crate::zone::digest::{self, Digest};
use crate::zone::name::Labels;
use crate::zone::object::{Kind, ObjectRef};

/// Arguments of `outlast snapshot`. FILE may be a folder: its newest generation is meant.
#[derive(clap::Subcommand)]
#[command(after_help = "FILE may be a folder of snapshots: its newest generation is meant.

Examples:
  outlast snapshot show /var/lib/outlast
  outlast snapshot diff gen-00000000000000000006.snap gen-00000000000000000007.snap
  outlast snapshot export /var/lib/outlast > cluster.json
  outlast snapshot import cluster.json --out gen-00000000000000000001.snap")]
pub(super) enum Command {
    /// Say what a snapshot holds, how old it is and where it came from
    Show {
        /// A snapshot or a folder of snapshots
        file: PathBuf,
    },
    /// Check a snapshot down to every object; exit status 1 if something is wrong
    Verify {
        /// A snapshot or a folder of snapshots
        file: PathBuf,
    },
    /// Say how the second snapshot differs from the first; exit status 1 if it does
    Diff {
        /// The first snapshot
        before: PathBuf,
        /// The second
        after: PathBuf,
    },
    /// Print the objects as kubectl would, for `source file`
    Export {
        /// A snapshot or a folder of snapshots
        file: PathBuf,
    },
    /// Make a snapshot of what kubectl printed
    Import {
        /// JSON or YAML, or a folder of such files
        file: PathBuf,
        /// The snapshot to write, e.g. gen-00000000000000000001.snap in a snapshot folder
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The cluster's zone
        #[arg(long, default_value = "cluster.local", value_name = "ZONE")]
        zone: String,
    },
}

/// Runs a subcommand.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let result = run_to(command, &mut out);
    match result {
        // `outlast snapshot export | head` is no failure.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(closed))
}

fn run_to(command: Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let status = |good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(match command {
        Command::Show { file } => {
            let (path, bytes) = read(&file)?;
            show::show(out, &open(&path, &bytes)?, bytes.len() as u64, now_ms())?;
            ExitCode::SUCCESS
        }
        Command::Verify { file } => {
            let (path, bytes) = read(&file)?;
            let verdict = verify(out, &bytes, Some(&mut Digests::default()))?;
            writeln!(out, "{}: {}", path.display(), if verdict.is_good() { "good" } else { "not good" })?;
            status(verdict.is_good())
        }
        Command::Diff { before, after } => {
            let ((path_a, a), (path_b, b)) = (read(&before)?, read(&after)?);
            status(compare::diff(out, &open(&path_a, &a)?, &open(&path_b, &b)?)?.is_none())
        }
        Command::Export { file } => {
            let (path, bytes) = read(&file)?;
            export::export(out, &open(&path, &bytes)?)?;
            ExitCode::SUCCESS
        }
        Command::Import { file, out: target, zone } => {
            let zone = Labels::parse(&zone).with_context(|| format!("--zone {zone:?}"))?.to_string();
            let found = file::read(&file, Wanted::ALL)?;
            let now = now_ms();
            let table = Table::build(found.objects, Wanted::ALL.kinds(), (now / 1000) as u32);
            let about = About {
                zone,
                source: format!("file:{}", file.display()),
                labels: true,
                written_at_ms: now,
                proved_at_ms: now,
                // A file has neither a position nor a cluster's identity to say.
                ..About::default()
            };
            let header = Header::of(&table, about);
            let written = export::import(&RealDisk, &target, &header, table.objects())?;
            writeln!(out, "{}: {} objects, {} bytes", target.display(), written.objects, written.bytes)?;
            ExitCode::SUCCESS
        }
    })
}

/// A snapshot's path and bytes; of a folder, the newest generation's.
pub(super) fn read(path: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let path = if path.is_dir() {
        newest(&RealDisk, path)?.with_context(|| format!("no snapshot in {}", path.display()))?.path
    } else {
        path.to_owned()
    };
    let len = std::fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.len();
    if len > MAX_FILE_BYTES {
        bail!("reading {}: {len} bytes are more than any snapshot has", path.display());
    }
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok((path, bytes))
}

/// A snapshot whose checksum is right.
pub(super) fn open<'a>(path: &Path, bytes: &'a [u8]) -> anyhow::Result<Verified<'a>> {
    Verified::new(bytes).with_context(|| format!("reading {}", path.display()))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Digests of the objects that are in a file.
#[derive(Default)]
struct Digests([Digest; Kind::ALL.len()]);

impl Recompute for Digests {
    fn version(&self) -> u32 {
        digest::VERSION
    }

    fn add(&mut self, object: ObjectRef<'_>) {
        self.0[object.kind().index()].add(object);
    }

    fn digests(&self) -> [KindDigest; Kind::ALL.len()] {
        self.0.map(|d| KindDigest { hash: d.hash, count: d.count })
    }
}
