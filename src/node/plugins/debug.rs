//! `debug`: logs what happens in detail. Unlike in CoreDNS a panic is caught all the same.

use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "debug";

/// Turns detailed logs on.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    cx.process.debug = true;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use crate::testkit::node::Builder;

    #[test]
    fn any_block_turns_it_on_for_the_process() {
        let debug = |text: &str| Builder::default().check(text).unwrap().process.debug;
        assert!(!debug("a:53 {\n errors\n}\nb:53 {\n errors\n}\n"));
        assert!(debug("a:53 {\n errors\n}\nb:53 {\n debug\n}\n"));
    }
}
