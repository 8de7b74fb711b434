//! `health [ADDRESS] { lameduck DURATION }`: `/health`, and how long to go on answering after SIGTERM.

use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;
use crate::ops::admin::Face;

/// The plugin's name.
pub const NAME: &str = "health";

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["lameduck"];

/// Adds the address; of several blocks' lameducks the longest counts.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    cx.add_face(Face::Health, directive.optional_arg("health [ADDRESS]")?)?;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "lameduck" => {
                let lameduck = line.one_arg("lameduck DURATION")?.duration()?;
                cx.process.lameduck = cx.process.lameduck.max(lameduck);
            }
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testkit::node::Builder;

    #[test]
    fn addresses_and_the_longest_lameduck() {
        struct Case {
            name: &'static str,
            text: &'static str,
            addresses: &'static [&'static str],
            lameduck: u64,
        }
        for case in [
            Case { name: "none", text: "a:53 {\n errors\n}\n", addresses: &[], lameduck: 0 },
            Case { name: "default", text: "a:53 {\n health\n}\n", addresses: &[":8080"], lameduck: 0 },
            Case {
                name: "node-cache's",
                text: "a:53 {\n health 169.254.20.10:8080\n}\n",
                addresses: &["169.254.20.10:8080"],
                lameduck: 0,
            },
            Case {
                name: "several blocks",
                text: "a:53 {\n health {\n lameduck 20s\n }\n}\nb:53 {\n health :1 {\n lameduck 5s\n }\n}\n",
                addresses: &[":8080", ":1"],
                lameduck: 20,
            },
        ] {
            let process = Builder::default().check(case.text).unwrap().process;
            let addresses: Vec<_> = process.faces.iter().map(|(_, address)| address.to_string()).collect();
            assert_eq!(addresses, case.addresses, "{}", case.name);
            assert!(process.faces.iter().all(|(face, _)| *face == Face::Health));
            assert_eq!(process.lameduck, Duration::from_secs(case.lameduck), "{}", case.name);
        }
    }
}
