//! What a changed text is: its own words, those of its imports, what a symbolic link leads to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;

use super::fixture::Place;
use super::process::{Process, outlast};

/// Status of `GET path`. Blocks.
pub(super) fn status(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits for the reload of this number.
fn reloaded(process: &Process, count: usize) {
    let complete = |p: &Process| p.output().matches("Reloading complete").count() == count;
    process.wait_for("the reload", |p| complete(p).then_some(()));
}

/// The TTL that is answered, before its jitter of a fifth at most, is this: those that are asked for here are far
/// enough from each other.
fn ttl(process: &Process, ttl: u32) {
    let query = Query::a(super::fixture::WEB);
    process.ask_until("the TTL", &query, |answer| {
        answer.message.answers.first().is_some_and(|record| (ttl * 4 / 5..=ttl).contains(&record.ttl))
    });
}

fn corefile(place: &Place, ttl: u32, plugins: &str) -> String {
    format!(".:0 {{\n bind 127.0.0.1\n {plugins}\n {}\n}}\n", place.kubernetes(&format!("ttl {ttl}")))
}

fn start(place: &Place, path: &str) -> Process {
    let process = Process::start(outlast().args(["node", "--conf"]).arg(place.path(path)));
    process.wait_for("the data", |p| p.output().contains("cluster data is live").then_some(()));
    process
}

/// As a kubelet mounts a ConfigMap: files are links into `..data`, which is exchanged.
#[test]
fn a_config_map_that_is_exchanged_is_a_change() {
    let place = Place::new();
    let put = |version: &str, ttl: u32| {
        let folder = place.path(version);
        std::fs::create_dir(&folder).unwrap();
        let text = format!("{}import extra\n", corefile(&place, ttl, "reload 2s 0"));
        std::fs::write(folder.join("Corefile"), text).unwrap();
        std::fs::write(folder.join("extra"), "").unwrap();
        let link = place.path("..data_tmp");
        symlink(version, &link).unwrap();
        std::fs::rename(link, place.path("..data")).unwrap();
    };
    put("..1", 10);
    symlink("..data/Corefile", place.path("Corefile")).unwrap();
    symlink("..data/extra", place.path("extra")).unwrap();
    let process = start(&place, "Corefile");
    ttl(&process, 10);
    put("..2", 30);
    reloaded(&process, 1);
    ttl(&process, 30);
    // What it imports.
    put("..3", 30);
    std::fs::write(place.path("..3/extra"), "extra.example:0 {\n bind 127.0.0.3\n}\n").unwrap();
    process.wait_for("the import", |p| p.output().contains("answering dns address=127.0.0.3:").then_some(()));
    std::fs::write(place.path("..3/extra"), "").unwrap();
    process.wait_for("its end", |p| {
        p.output().contains("no longer answering dns address=127.0.0.3:").then_some(())
    });
}

#[test]
fn a_signal_reloads_without_the_plugin_and_an_unchanged_text_too() {
    let place = Place::new();
    place.write("Corefile", &corefile(&place, 10, "errors"));
    let process = start(&place, "Corefile");
    process.signal(Signal::SIGUSR1);
    reloaded(&process, 1);
    place.write("Corefile", &corefile(&place, 30, "errors"));
    process.signal(Signal::SIGUSR1);
    reloaded(&process, 2);
    ttl(&process, 30);
    place.write("Corefile", &corefile(&place, 30, "erors"));
    process.signal(Signal::SIGUSR1);
    let warning = "plugin/reload: Corefile parse failed: ";
    process.wait_for("a warning", |p| p.output().contains(warning).then_some(()));
    let output = process.output();
    let line = output.lines().find(|l| l.contains(warning)).unwrap();
    let corefile = place.path("Corefile");
    assert!(
        line.contains(&format!("{}:3 - Error during parsing: Unknown directive 'erors'", corefile.display()))
    );
    ttl(&process, 30);
    // How long it goes on answering after a SIGTERM is what the last text says.
    place.write("Corefile", &corefile_with_lameduck(&place));
    process.signal(Signal::SIGUSR1);
    reloaded(&process, 3);
    process.signal(Signal::SIGTERM);
    let (code, output) = process.wait();
    assert!(code == 0 && output.contains("shutting down lameduck=1s"), "{output}");
}

fn corefile_with_lameduck(place: &Place) -> String {
    corefile(place, 30, "health 127.0.0.1:0 {\n lameduck 1s\n }")
}

#[test]
fn standard_input_is_read_once_and_that_is_said() {
    let place = Place::new();
    place.write("stdin", &corefile(&place, 10, "reload"));
    let input = std::fs::File::open(place.path("stdin")).unwrap();
    let process = Process::start(outlast().args(["node", "--conf", "stdin"]).stdin(input));
    let warning = "[WARNING] plugin/reload: the Corefile came from standard input";
    process.wait_for("a warning", |p| p.output().contains(warning).then_some(()));
    process.signal(Signal::SIGUSR1);
    process.wait_for("another", |p| p.output().contains("a reload was asked for").then_some(()));
    ttl(&process, 10);
}
