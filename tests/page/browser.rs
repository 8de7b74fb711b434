//! Headless Chromium.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;
use super::programs::program;

/// The browser.
pub(crate) const BROWSER: &str = "chromium-headless-shell";

/// Simulated milliseconds that a page has: two times that it refreshes itself, and a little.
const BUDGET: &str = "--virtual-time-budget=12000";

/// A browser that knows of nothing but this page.
fn browser(profile: &Path) -> Command {
    let mut command = Command::new(program(BROWSER));
    command.args([
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    // Whatever it asks for elsewhere is not there.
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// What the page at an address has become after some of its time.
pub(crate) fn document(page: SocketAddr) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = browser(profile.path());
    let (code, document, errors) = run(command.args([BUDGET, "--dump-dom"]).arg(format!("http://{page}/")));
    assert_eq!(code, 0, "{document}{errors}");
    document
}

/// A picture of the page at an address.
pub(crate) fn picture(page: SocketAddr, name: &str) -> PathBuf {
    let profile = tempfile::tempdir().unwrap();
    let folder = std::env::temp_dir().join("outlast-page");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.png"));
    // One of another run would do as well.
    let _ = std::fs::remove_file(&file);
    let mut command = browser(profile.path());
    command.arg("--window-size=1000,1100").arg(format!("--screenshot={}", file.display()));
    let (code, said, errors) = run(command.arg(format!("http://{page}/")));
    assert_eq!(code, 0, "{said}{errors}");
    println!("{}", file.display());
    file
}
