//! `root PATH`: the folder that relative paths of a server block begin at.
//!
//! As in CoreDNS these are the files of `hosts`, of `loadbalance weighted`, of `tls` and of the `tls` of `forward`.
//! Upstreams from a file, kubeconfigs and imports of the Corefile are not among them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::corefile::{Directive, Error, Statement, Warning};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "root";

/// Options that are accepted.
pub const OPTIONS: [&str; 0] = [];

/// Takes the folder; the last line decides.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    for directive in directives {
        let word = directive.one_arg("root PATH")?;
        if let Some(line) = directive.lines().first() {
            return Err(line.unknown_property(NAME, &OPTIONS));
        }
        cx.root = PathBuf::from(&word.text);
        match std::fs::metadata(&cx.root) {
            Ok(_) => {}
            // It may be there later.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (position, text) =
                    (word.position.clone(), format!("Root path does not exist: {}", word.text));
                tracing::warn!(target: "plugin/root", "{text}");
                cx.process.warnings.push(Warning { position, text });
            }
            Err(error) => {
                return Err(
                    word.error(format!("plugin/root: unable to access root path '{}': {error}", word.text))
                );
            }
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use crate::node::test_support::{Logs, plugins};
    use crate::testkit::node::Builder;

    #[test]
    fn root_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("weights"), "x.example.\n192.0.2.1 3\n").unwrap();
        let weighted = "loadbalance weighted weights {\n reload 0\n }";
        let with = |root: &str| plugins(&format!("{weighted}\n root {root}")).map(drop);
        assert_eq!(with(&folder.path().display().to_string()), Ok(()));
        let error = with("/").unwrap_err().to_string();
        assert!(error.contains("reading weight file /weights"), "{error}");
        let error = plugins(weighted).map(drop).unwrap_err().to_string();
        assert!(error.contains("reading weight file weights"), "{error}");
        let absolute =
            format!("root /\n loadbalance weighted {}/weights {{\n reload 0\n }}", folder.path().display());
        assert_eq!(plugins(&absolute).map(drop), Ok(()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_warned_of() {
        let logs = Logs::capture("");
        plugins("root /nonexistent").unwrap();
        assert_eq!(logs.take(), ["[WARNING] plugin/root: Root path does not exist: /nonexistent"]);
        let plan = Builder::default().check(". {\n root /nonexistent\n}").unwrap();
        let warnings: Vec<_> = plan.process.warnings.iter().map(|w| (w.position.line, &*w.text)).collect();
        assert_eq!(warnings, [(2, "Root path does not exist: /nonexistent")], "`outlast check` says it, too");
        assert!(plugins("root").map(drop).unwrap_err().to_string().contains("write 'root PATH'"));
    }
}
