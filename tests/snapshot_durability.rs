//! Snapshots outlive what disks and power supplies do: at any moment the newest saved generation, or the one
//! being saved, is what a start finds.

#![allow(clippy::panic, reason = "a test that panics is a test that fails, also in its helpers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use outlast::snapshot::disk::{Disk, RealDisk};
use outlast::snapshot::encode::encode;
use outlast::snapshot::folder::{Access, Folder, KEEP_GENERATIONS, KEEP_REJECTED};
use outlast::snapshot::format::VERSION;
use outlast::snapshot::header::Header;
use outlast::snapshot::load::{Expect, Loaded, Outcome, Warning};
use outlast::snapshot::reject::Aside;
use outlast::snapshot::save::{SaveError, Saved};
use outlast::testkit::disk::{Fault, Image, RecordingDisk, Tear};
use outlast::zone::object::{Kinds, Namespace, Object, ObjectRef};

const DIR: &str = "/state/snapshots";
const ZONE: &str = "cluster.local.";

// === A state is known by its serial, which its objects spell too ===

fn header(serial: u32) -> Header {
    Header {
        zone: ZONE.into(),
        cluster_uid: "uid".into(),
        complete: Kinds::CORE,
        serial,
        source: "file:a".into(),
        written_at_ms: 1000 + u64::from(serial),
        ..Header::default()
    }
}

fn objects(serial: u32) -> Vec<Object> {
    let name =
        |i| Object::Namespace(Namespace { name: format!("ns-{serial}-{i}").into(), labels: [].into() });
    (0..3).map(name).collect()
}

fn bytes(header: &Header, serial: u32) -> Vec<u8> {
    let mut file = Vec::new();
    encode(&mut file, header, objects(serial).iter().map(ObjectRef::from)).expect("memory takes it");
    file
}

fn open(disk: &RecordingDisk) -> Folder {
    Folder::open(Arc::new(disk.clone()), DIR)
}

fn save(folder: &mut Folder, serial: u32) -> Result<Saved, SaveError> {
    folder.save(&header(serial), objects(serial).iter().map(ObjectRef::from))
}

fn load(folder: &mut Folder) -> Loaded<Vec<Object>> {
    folder.load(&Expect { zone: ZONE, ..Expect::default() }, |_| Vec::new())
}

/// The serial that is served; its objects must be just those that were saved with it.
fn served(loaded: &Loaded<Vec<Object>>) -> Option<u32> {
    match &loaded.outcome {
        Outcome::Loaded(restored) => {
            assert_eq!(restored.sink, objects(restored.header.serial));
            Some(restored.header.serial)
        }
        Outcome::None => None,
    }
}

fn path(generation: u64) -> PathBuf {
    Path::new(DIR).join(format!("gen-{generation:020}.snap"))
}

fn image(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Image {
    Image { dirs: [DIR.into()].into(), files: files.into_iter().collect() }
}

fn names(disk: &RecordingDisk) -> Vec<String> {
    let names = disk.list(Path::new(DIR)).expect("memory lists");
    names.into_iter().map(|e| e.name).collect()
}

// === Power cuts ===

/// Cuts the power after every operation of several saves, with every loss that POSIX allows.
#[test]
fn a_power_cut_leaves_the_new_or_the_previous_generation() {
    let disk = RecordingDisk::default();
    let mut folder = open(&disk);
    // How many changes had been made when each save returned. Past three saves the old ones are pruned.
    let mut returned = Vec::new();
    for serial in 1..=5 {
        save(&mut folder, serial).expect("memory takes it");
        returned.push(disk.changes());
    }
    let mut images = 0;
    for changes in 0..=disk.changes() {
        let previous = returned.iter().filter(|r| **r <= changes).count() as u32;
        for image in disk.power_cuts(changes, Tear::EveryByte) {
            images += 1;
            let after = RecordingDisk::holding(image.clone());
            let loaded = load(&mut open(&after));
            let serial = served(&loaded).unwrap_or(0);
            assert!(
                serial == previous || serial == previous + 1,
                "{serial} is served after {previous} were saved, from {:?}",
                image.files.keys()
            );
            assert!(loaded.rejected.is_empty(), "nothing has its name before it is whole: {loaded:?}");
        }
    }
    assert!(images > 500, "{images} disks are too few to have torn every byte");
}

/// A start after a power cut saves again, and nothing of the broken attempt stays.
#[test]
fn a_start_after_a_power_cut_saves_again() {
    let disk = RecordingDisk::default();
    let mut folder = open(&disk);
    (1..=4).for_each(|serial| drop(save(&mut folder, serial).expect("memory takes it")));
    for changes in 0..=disk.changes() {
        for image in disk.power_cuts(changes, Tear::Coarse) {
            let after = RecordingDisk::holding(image);
            let mut folder = open(&after);
            load(&mut folder);
            save(&mut folder, 9).expect("memory takes it");
            assert_eq!(served(&load(&mut open(&after))), Some(9));
            let names = names(&after);
            assert!(
                names.len() <= KEEP_GENERATIONS && names.iter().all(|n| n.ends_with(".snap")),
                "{names:?}"
            );
        }
    }
}

// === Damage ===

/// Puts a damaged generation 2 beside a whole generation 1 and expects 1 to be served.
fn previous_is_served_instead_of(damaged: Vec<u8>, what: &str) {
    let disk = RecordingDisk::holding(image([(path(1), bytes(&header(1), 1)), (path(2), damaged.clone())]));
    let loaded = load(&mut open(&disk));
    assert_eq!(served(&loaded), Some(1), "{what}");
    let [rejected] = &loaded.rejected[..] else { panic!("{what}: {loaded:?}") };
    let Aside::Moved(aside) = &rejected.aside else { panic!("{what}: {rejected}") };
    assert_eq!(aside.with_extension(""), path(2), "{what}");
    assert_eq!(disk.read(aside, u64::MAX).expect("it is there"), damaged, "{what}: kept to be looked at");
    assert!(!names(&disk).contains(&"gen-00000000000000000002.snap".to_owned()), "{what}");
}

#[test]
fn a_file_cut_at_any_length_is_put_aside() {
    let whole = bytes(&header(2), 2);
    for length in 0..whole.len() {
        previous_is_served_instead_of(whole[..length].to_vec(), &format!("cut at {length}"));
    }
    previous_is_served_instead_of([&whole[..], b"\0"].concat(), "a byte longer");
    previous_is_served_instead_of(whole.repeat(2), "twice");
}

#[test]
fn a_file_with_any_byte_flipped_is_put_aside() {
    let whole = bytes(&header(2), 2);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            previous_is_served_instead_of(damaged, &format!("byte {at} flipped by {flip:#x}"));
        }
    }
}

#[test]
fn every_generation_damaged_serves_none_and_the_next_save_works() {
    let disk = RecordingDisk::holding(image((1..=3).map(|n| (path(n), b"damaged".to_vec()))));
    let mut folder = open(&disk);
    let loaded = load(&mut folder);
    assert_eq!((served(&loaded), loaded.rejected.len()), (None, 3));
    let saved = save(&mut folder, 4).expect("memory takes it");
    assert_eq!(saved.generation, 4, "numbers of rejected files are not used again");
    assert_eq!(served(&load(&mut open(&disk))), Some(4));
}

#[test]
fn a_file_that_cannot_be_renamed_aside_is_only_reported() {
    let disk =
        RecordingDisk::holding(image([(path(1), bytes(&header(1), 1)), (path(2), b"damaged".to_vec())]));
    let mut folder = open(&disk);
    disk.fail(Fault::ReadOnly);
    let loaded = load(&mut folder);
    assert_eq!(served(&loaded), Some(1));
    let told = loaded.rejected[0].to_string();
    assert!(told.starts_with("reading snapshot gen-2: not a snapshot; renaming "), "{told}");
    disk.heal();
    save(&mut folder, 3).expect("memory takes it");
    assert_eq!(served(&load(&mut open(&disk))), Some(3));
}

#[test]
fn a_file_that_cannot_be_read_stays_for_the_next_start() {
    let disk = RecordingDisk::holding(image((1..=2).map(|n| (path(n), bytes(&header(n as u32), n as u32)))));
    let mut folder = open(&disk);
    // The first call lists, the second reads the newest.
    disk.fail(Fault::Once(1, Errno::EIO));
    let loaded = load(&mut folder);
    assert_eq!(served(&loaded), Some(1));
    assert!(matches!(loaded.rejected[0].aside, Aside::Left), "{loaded:?}");
    assert_eq!(served(&load(&mut open(&disk))), Some(2));
}

/// A decoding error behind a right checksum must not leave a mixture in what is served.
#[test]
fn a_sink_is_discarded_with_the_file_that_fails_in_the_middle() {
    struct Counted<'a> {
        taken: Vec<Object>,
        made: &'a std::cell::Cell<u32>,
    }
    impl outlast::snapshot::load::Sink for Counted<'_> {
        fn take(&mut self, object: Object) {
            self.taken.push(object);
        }
    }
    // An object without a name is written as it is, and refused when it is read.
    let nameless = Object::Namespace(Namespace { name: "".into(), labels: [].into() });
    let broken: Vec<_> = objects(2).into_iter().chain([nameless]).collect();
    let mut file = Vec::new();
    encode(&mut file, &header(2), broken.iter().map(ObjectRef::from)).expect("memory takes it");
    let disk = RecordingDisk::holding(image([(path(1), bytes(&header(1), 1)), (path(2), file)]));

    let made = std::cell::Cell::new(0);
    let loaded = open(&disk).load(&Expect { zone: ZONE, ..Expect::default() }, |_| {
        made.set(made.get() + 1);
        Counted { taken: Vec::new(), made: &made }
    });
    let Outcome::Loaded(restored) = loaded.outcome else { panic!("nothing was loaded") };
    assert_eq!((restored.sink.taken, restored.sink.made.get()), (objects(1), 2));
    assert_eq!(loaded.rejected[0].reason.to_string(), "object 3: a Namespace without a name");
}

// === Faults ===

#[test]
fn any_failing_operation_leaves_a_generation_and_the_next_save_works() {
    for errno in [Errno::ENOSPC, Errno::EIO, Errno::EROFS] {
        for at in 0.. {
            let disk = RecordingDisk::default();
            let mut folder = open(&disk);
            (1..=4).for_each(|serial| drop(save(&mut folder, serial).expect("memory takes it")));
            disk.fail(Fault::Once(at, errno));
            let outcome = save(&mut folder, 5);
            let calls = disk.heal();
            let possible = if outcome.is_ok() { vec![5] } else { vec![4, 5] };
            assert_eq!(matches!(folder.access(), Access::Writable), outcome.is_ok());
            if let Err(error) = &outcome {
                assert_eq!(error.io().and_then(std::io::Error::raw_os_error), Some(errno as i32), "{error}");
            }
            for image in disk.power_cuts(disk.changes(), Tear::Coarse) {
                let found = served(&load(&mut open(&RecordingDisk::holding(image)))).expect("one is whole");
                assert!(possible.contains(&found), "{errno} at {at}: {found} is served after {outcome:?}");
            }
            save(&mut folder, 6).expect("the disk is well again");
            assert!(matches!(folder.access(), Access::Writable));
            assert_eq!(served(&load(&mut open(&disk))), Some(6), "{errno} at {at}");
            assert_eq!(names(&disk).len(), KEEP_GENERATIONS, "{errno} at {at}: {:?}", names(&disk));
            if at >= calls {
                break;
            }
        }
    }
}

#[test]
fn any_failing_operation_of_a_start_still_serves_a_generation() {
    for at in 0.. {
        let disk = RecordingDisk::holding(image([
            (path(1), bytes(&header(1), 1)),
            (path(2), bytes(&header(2), 2)),
            (path(3), b"damaged".to_vec()),
        ]));
        disk.fail(Fault::Once(at, Errno::EIO));
        let mut folder = open(&disk);
        let loaded = load(&mut folder);
        let calls = disk.heal();
        match served(&loaded) {
            Some(_) => {}
            // Nothing can be served from a folder that cannot be listed; that is said.
            None => assert!(matches!(loaded.warnings[..], [Warning::Unlistable(_)]), "{loaded:?}"),
        }
        save(&mut folder, 4).expect("the disk is well again");
        assert_eq!(served(&load(&mut open(&disk))), Some(4), "failed at {at}");
        if at >= calls {
            break;
        }
    }
}

#[test]
fn a_full_disk_keeps_what_it_has_and_no_rubbish() {
    let disk = RecordingDisk::default();
    let mut folder = open(&disk);
    save(&mut folder, 1).expect("memory takes it");
    disk.fail(Fault::Full);
    for serial in 2..20 {
        let error = save(&mut folder, serial).expect_err("the disk is full");
        assert_eq!(error.io().map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
    }
    assert_eq!(names(&disk), ["gen-00000000000000000001.snap"]);
    disk.heal();
    save(&mut folder, 20).expect("there is room again");
    assert_eq!(served(&load(&mut open(&disk))), Some(20));
}

#[test]
fn a_read_only_folder_serves_and_says_so() {
    let disk = RecordingDisk::holding(image([(path(1), bytes(&header(1), 1))]));
    disk.fail(Fault::ReadOnly);
    let mut folder = open(&disk);
    let Access::MemoryOnly { why } = folder.access() else { panic!("it cannot be written") };
    assert!(why.starts_with("trying to write to /state/snapshots: "), "{why}");
    assert_eq!(served(&load(&mut folder)), Some(1));
    save(&mut folder, 2).expect_err("it cannot be written");
    disk.heal();
    save(&mut folder, 3).expect("it can be written now");
    assert!(matches!(folder.access(), Access::Writable));
}

#[test]
fn a_folder_that_is_missing_and_cannot_be_made_is_one_without_snapshots() {
    let disk = RecordingDisk::default();
    disk.fail(Fault::ReadOnly);
    let mut folder = open(&disk);
    assert!(matches!(folder.access(), Access::MemoryOnly { .. }));
    assert_eq!(served(&load(&mut folder)), None);
}

// === What is kept ===

#[test]
fn the_newest_generations_are_kept_and_foreign_files_left_alone() {
    let disk = RecordingDisk::holding(image([(Path::new(DIR).join("notes.txt"), b"mine".to_vec())]));
    let mut folder = open(&disk);
    for serial in 1..=6 {
        let saved = save(&mut folder, serial).expect("memory takes it");
        assert_eq!((saved.generation, saved.objects), (u64::from(serial), 3));
        assert!(saved.untidy.is_empty());
    }
    let generations = folder.generations().expect("memory lists");
    assert_eq!(generations.iter().map(|g| g.number).collect::<Vec<_>>(), [6, 5, 4]);
    assert!(names(&disk).contains(&"notes.txt".to_owned()));
    let back = folder.load_generation(5, ZONE, |_| Vec::new()).expect("it is whole");
    assert_eq!((back.header.serial, back.sink), (5, objects(5)));
}

#[test]
fn rejected_files_are_bounded_also_for_one_that_never_saves() {
    let disk = RecordingDisk::holding(image([(path(1), bytes(&header(1), 1))]));
    for round in 2..10 {
        let mut image = disk.image();
        image.files.insert(path(round), b"damaged".to_vec());
        let disk = RecordingDisk::holding(image);
        assert_eq!(served(&load(&mut open(&disk))), Some(1));
    }
    let mut image = disk.image();
    image.files.extend((2..10).map(|n| (path(n), b"damaged".to_vec())));
    let disk = RecordingDisk::holding(image);
    assert_eq!(load(&mut open(&disk)).rejected.len(), 8);
    let rejected: Vec<_> = names(&disk).into_iter().filter(|n| n.contains("rejected")).collect();
    assert_eq!(rejected.len(), KEEP_REJECTED);
    assert_eq!(rejected[0], "gen-00000000000000000007.snap.rejected-magic", "the newest are kept");
}

#[test]
fn a_live_writers_temporary_file_stays_and_a_dead_ones_goes() {
    let disk = RecordingDisk::holding(image([]));
    let temporary = Path::new(DIR).join("gen-00000000000000000001.snap.00112233445566ff.tmp");
    let writer = disk.create_new(&temporary).expect("memory takes it");
    open(&disk);
    assert_eq!(names(&disk).len(), 1);
    drop(writer);
    open(&disk);
    assert_eq!(names(&disk).len(), 0);
}

/// As when the next release starts while the last one writes its snapshot on a clean stop.
#[test]
fn a_second_process_that_starts_does_not_disturb_a_save() {
    let disk = RecordingDisk::default();
    let mut folder = open(&disk);
    let all = objects(1);
    let objects = all.iter().inspect(|_| drop(open(&disk))).map(ObjectRef::from);
    folder.save(&header(1), objects).expect("nobody takes the file away");
    assert_eq!(served(&load(&mut open(&disk))), Some(1));
}

#[test]
fn the_last_number_is_not_gone_beyond() {
    let disk = RecordingDisk::holding(image([(path(u64::MAX), bytes(&header(1), 1))]));
    let mut folder = open(&disk);
    assert!(matches!(save(&mut folder, 2), Err(SaveError::Exhausted(_))));
    assert_eq!(served(&load(&mut folder)), Some(1));
}

// === What is refused, and what only warned of ===

#[test]
fn another_zone_and_a_later_version_are_refused() {
    let mut elsewhere = header(2);
    elsewhere.zone = "other.local.".into();
    let mut later = bytes(&header(3), 3);
    later[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let end = later.len() - 16;
    let checksum = xxhash_rust::xxh3::xxh3_128(&later[..end]);
    later[end..].copy_from_slice(&checksum.to_le_bytes());
    let disk = RecordingDisk::holding(image([
        (path(1), bytes(&header(1), 1)),
        (path(2), bytes(&elsewhere, 2)),
        (path(3), later),
    ]));
    let loaded = load(&mut open(&disk));
    assert_eq!(served(&loaded), Some(1));
    let reasons: Vec<_> = loaded.rejected.iter().map(|r| (r.reason.slug(), r.reason.to_string())).collect();
    assert_eq!(
        reasons,
        [
            ("version", "format version 2, and this release reads up to 1".to_owned()),
            ("zone", "of zone other.local., and cluster.local. is served".to_owned()),
        ]
    );
}

#[test]
fn another_source_only_warns() {
    let disk = RecordingDisk::holding(image([(path(1), bytes(&header(1), 1))]));
    let mut folder = open(&disk);
    let expect = |source| Expect { zone: ZONE, source: Some(source) };
    let mut warnings = |expect: &Expect<'_>| {
        let loaded = folder.load(expect, |_| Vec::new());
        assert_eq!(served(&loaded), Some(1));
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(warnings(&expect("file:a")).is_empty());
    assert_eq!(warnings(&expect("hub")), ["the snapshot came from source file:a, and hub is configured",]);
}

// === The real disk, and files of earlier releases ===

#[test]
fn a_real_folder_works_the_same() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let dir = temp.path().join("made/here");
    let mut folder = Folder::open(Arc::new(RealDisk), &dir);
    assert!(matches!(folder.access(), Access::Writable));
    for serial in 1..=5 {
        save(&mut folder, serial).expect("there is room");
    }
    let newest = &folder.generations().expect("it can be listed")[0];
    std::fs::write(&newest.path, b"damaged").expect("it can be written");
    let mut folder = Folder::open(Arc::new(RealDisk), &dir);
    let loaded = load(&mut folder);
    assert_eq!((served(&loaded), loaded.rejected.len()), (Some(4), 1));
    save(&mut folder, 6).expect("there is room");
    assert_eq!(std::fs::read_dir(&dir).expect("it can be listed").count(), KEEP_GENERATIONS + 1);
}

/// `v1.snap` was written by the release that brought format version 1. It is never made anew: `UPDATE=1` writes
/// it only where it is missing.
#[test]
fn a_file_of_format_version_1_loads() {
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snapshots/v1.snap");
    if std::env::var_os("UPDATE").is_some() && !pinned.exists() {
        let mut file = Vec::new();
        let all = pinned::objects();
        encode(&mut file, &pinned::header(), all.iter().map(ObjectRef::from)).expect("memory takes it");
        std::fs::write(&pinned, file).expect("the tree can be written");
    }
    let file = std::fs::read(&pinned).expect("the pinned file is there");
    let disk = RecordingDisk::holding(image([(path(1), file)]));
    let Outcome::Loaded(restored) = load(&mut open(&disk)).outcome else { panic!("it does not load") };
    assert_eq!((restored.header, restored.sink), (pinned::header(), pinned::objects()));
}

/// What `v1.snap` holds: something of everything that format version 1 can say.
mod pinned {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use outlast::feed::position::Position;
    use outlast::snapshot::header::{Header, KindDigest};
    use outlast::zone::object::{
        Addresses, EndpointSlice, Endpoints, Kind, Kinds, Namespace, Object, Pod, Port, Protocol, Service,
        Shape,
    };

    pub(super) fn header() -> Header {
        Header {
            zone: super::ZONE.into(),
            cluster_uid: "0e2b3c1a-1111-4222-8333-444455556666".into(),
            position: Position { epoch: 1, versions: [10, 20, 30, 40] },
            // As old files have it, which do not say.
            told: Position { epoch: 1, versions: [10, 20, 30, 40] },
            held: Kinds::NONE,
            complete: Kinds::CORE.with(Kind::Pod),
            digest_version: 1,
            digests: [1, 2, 3, 4].map(|n| KindDigest { hash: u128::MAX / n, count: n as u64 }),
            written_at_ms: 1_790_000_000_000,
            proved_at_ms: 1_789_999_999_000,
            serial: 77,
            source: "file:/etc/outlast/cluster.yaml".into(),
            labels: true,
            headless_only: false,
            writer: "0.1.0".into(),
        }
    }

    pub(super) fn objects() -> Vec<Object> {
        let port = |name: &str, number, protocol| Port { name: name.into(), number, protocol };
        let service = |name: &str, shape, ports: &[Port]| {
            Object::Service(Service {
                namespace: "shop".into(),
                name: name.into(),
                shape,
                ports: ports.into(),
                labels: [("app".into(), name.into())].into(),
            })
        };
        let slice = |name: &str, endpoints| {
            Object::EndpointSlice(EndpointSlice {
                namespace: "shop".into(),
                name: name.into(),
                service: "db".into(),
                ports: [port("sql", Some(5432), Protocol::Tcp), port("", None, Protocol::Sctp)].into(),
                endpoints,
                labels: [("kubernetes.io/service-name".into(), "db".into())].into(),
            })
        };
        let v4 = Addresses::V4([Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2)].into());
        let v6 = Addresses::V6([Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)].into());
        vec![
            Object::Namespace(Namespace {
                name: "shop".into(),
                labels: [("team".into(), "a".into())].into(),
            }),
            service(
                "web",
                Shape::ClusterIp([IpAddr::from([10, 96, 0, 1]), Ipv6Addr::LOCALHOST.into()].into()),
                &[port("http", Some(80), Protocol::Tcp), port("dns", Some(53), Protocol::Udp)],
            ),
            service("pending", Shape::ClusterIp([].into()), &[]),
            service("db", Shape::Headless, &[port("", Some(5432), Protocol::Unset)]),
            service("mail", Shape::ExternalName("mx.example.com.".into()), &[]),
            slice("db-4", Endpoints::new(v4, &["db-0", ""], &["pod-0", "pod-1"], &[]).expect("even")),
            slice("db-6", Endpoints::new(v6, &[], &[], &["FD00::1"]).expect("even")),
            slice("db-none", Endpoints::none()),
            Object::Pod(Pod {
                namespace: "shop".into(),
                name: "pod-0".into(),
                ip: IpAddr::from([10, 1, 0, 1]),
                labels: [].into(),
            }),
        ]
    }
}
