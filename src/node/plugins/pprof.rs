//! `pprof [ADDRESS] { block [RATE]; mutex [FRACTION] }`: accepted, and said to do nothing.
//!
//! It serves profiles of a Go program, in Go's form; this is none. Nothing listens, so that a port that nobody
//! expects to be dangerous is not. `perf` sees every function of the program (it is built with line tables), and
//! `/metrics` has its times.

use std::net::SocketAddr;
use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement, Token, Warning};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "pprof";

/// Options that are accepted.
pub const OPTIONS: [&str; 2] = ["block", "mutex"];

/// What lines are logged under.
const TARGET: &str = "plugin/pprof";

/// ADDRESS without an argument, as in CoreDNS.
const DEFAULT_ADDRESS: &str = "localhost:6053";

/// Checks the lines as CoreDNS does, and warns of each.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    let address = match directive.optional_arg("pprof [ADDRESS]")? {
        Some(word) if is_address(&word.text) => word.text.as_str(),
        Some(word) => {
            return Err(word.error(format!("'{}' is not an address: write HOST:PORT or :PORT", word.text)));
        }
        None => DEFAULT_ADDRESS,
    };
    let mut warn = |word: &Token, text: String| {
        tracing::warn!(target: TARGET, "{text}, at {}", word.position);
        cx.process.warnings.push(Warning { position: word.position.clone(), text });
    };
    warn(
        &directive.name,
        format!(
            "'pprof' has no effect: nothing listens at {address}, since it profiles Go programs; use 'perf', and \
             /metrics"
        ),
    );
    for line in directive.lines() {
        let option = line.name().text.as_str();
        if !OPTIONS.contains(&option) {
            return Err(line.unknown_property(NAME, &OPTIONS));
        }
        let rate = match line.optional_arg(&format!("{option} [RATE]"))? {
            Some(word) => word.integer(0..=u32::MAX)?,
            None => 1,
        };
        warn(line.name(), format!("'{option}' of {rate} has no effect: there are no {option} profiles"));
    }
    Ok(Vec::new())
}

/// Whether CoreDNS would listen there.
fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
        || text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use crate::node::chain::Outcome;
    use crate::node::test_support::{Logs, Scene, plugins};

    fn warnings(body: &str) -> Vec<String> {
        let logs = Logs::capture("");
        let warnings = Scene::new(body, |_| Outcome::Silence).warnings;
        assert_eq!(logs.take().len(), warnings.len(), "each is logged");
        warnings
    }

    #[tokio::test]
    async fn pprof_address() {
        for (body, address) in [
            ("pprof", "localhost:6053"),
            ("pprof :6060", ":6060"),
            ("pprof 127.0.0.1:6060", "127.0.0.1:6060"),
            ("pprof [::1]:6060", "[::1]:6060"),
        ] {
            let warnings = warnings(body);
            let want =
                format!("'pprof' has no effect: nothing listens at {address}, since it profiles Go programs");
            assert!(warnings.len() == 1 && warnings[0].starts_with(&want), "{warnings:?}");
        }
    }

    #[tokio::test]
    async fn pprof_block() {
        for (line, want) in [("block", "'block' of 1"), ("block 20", "'block' of 20")] {
            let warnings = warnings(&format!("pprof {{\n {line}\n}}"));
            assert_eq!(warnings[1], format!("{want} has no effect: there are no block profiles"));
        }
    }

    #[tokio::test]
    async fn pprof_mutex() {
        for (line, want) in [("mutex", "'mutex' of 1"), ("mutex 5", "'mutex' of 5")] {
            let warnings = warnings(&format!("pprof {{\n {line}\n}}"));
            assert_eq!(warnings[1], format!("{want} has no effect: there are no mutex profiles"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, line, want) in [
            ("pprof localhost", 2, "write HOST:PORT or :PORT"),
            ("pprof :x", 2, "write HOST:PORT or :PORT"),
            ("pprof a b", 2, "write 'pprof [ADDRESS]'"),
            ("pprof\npprof", 3, "only be used once"),
            ("pprof {\n block x\n}", 3, "'x' is not a whole number"),
            ("pprof {\n blok\n}", 3, "did you mean 'block'?"),
        ] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == line && error.message().contains(want), "{body}: {error}");
        }
    }
}
