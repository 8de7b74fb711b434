//! Plays random scripts: `PROPTEST_CASES` says how many; one that fails is made shorter, and printed.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Scripts of each theme, unless somebody says otherwise.
const CASES: u32 = 16;

/// Plays scripts of `strategy`; one that fails is made shorter in so many tries at most.
///
/// # Panics
/// With the shortest script that fails.
pub(crate) fn play_random<S: Strategy>(
    strategy: &S,
    shrinking: u32,
    play: impl Fn(&S::Value) -> Result<(), String>,
) {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { CASES };
    let config = ProptestConfig { cases, max_shrink_iters: shrinking, failure_persistence: None, ..usual };
    let played = TestRunner::new(config).run(strategy, |script| play(&script).map_err(TestCaseError::fail));
    played.unwrap_or_else(|error| panic!("{error}"));
}
