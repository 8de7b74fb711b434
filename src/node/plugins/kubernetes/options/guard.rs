//! `guard` and `guard_hold`: whether lists that would empty the zone are held back, and for how long.

use std::time::Duration;

use crate::corefile::{Error, Line, Statement, Token};
use crate::store::guard_config::{DEFAULT_GUARD_HOLD, GuardConfig, hold_within};

/// What flags and environment variables say of the guard, ahead of the Corefile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardOverrides {
    /// `guard`
    pub on: Option<bool>,
    /// `guard_hold`
    pub hold: Option<Duration>,
}

/// What the block says.
#[derive(Default)]
pub(super) struct GuardLines {
    /// The same values.
    said: GuardOverrides,
    /// The first word of each line, to say which of them have no effect.
    lines: Vec<Token>,
}

impl GuardLines {
    /// Takes a line, if it is one of these.
    pub(super) fn take(&mut self, line: &Line) -> Result<bool, Error> {
        match line.name().text.as_str() {
            "guard" => {
                self.said.on = Some(line.one_arg("guard on|off")?.choice(&[("on", true), ("off", false)])?);
            }
            "guard_hold" => {
                let word = line.one_arg("guard_hold DURATION")?;
                let hold = hold_within(word.duration()?);
                self.said.hold = Some(hold.map_err(|e| word.error(format!("plugin/kubernetes: {e}")))?);
            }
            _ => return Ok(false),
        }
        self.lines.push(line.name().clone());
        Ok(true)
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[Token] {
        &self.lines
    }

    /// What holds.
    pub(super) fn config(&self, overrides: GuardOverrides) -> GuardConfig {
        GuardConfig {
            on: overrides.on.or(self.said.on).unwrap_or(true),
            hold: overrides.hold.or(self.said.hold).unwrap_or(DEFAULT_GUARD_HOLD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::setup::Overrides;
    use crate::testkit::node::Builder;

    fn guard(lines: &str, guard: GuardOverrides) -> GuardConfig {
        let overrides = Overrides { guard, ..Overrides::default() };
        let text = format!("cluster.local:53 {{\n kubernetes {{\n source file x\n {lines}\n }}\n}}\n");
        let plan = Builder::default().overrides(overrides).check(&text).unwrap_or_else(|e| panic!("{e}"));
        plan.process.stores[0].0.guard
    }

    #[test]
    fn what_is_said_of_the_guard_arrives() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        for (lines, flags, on, hold) in [
            ("", GuardOverrides::default(), true, hours(1)),
            ("guard off", GuardOverrides::default(), false, hours(1)),
            ("guard on\n guard_hold 2h", GuardOverrides::default(), true, hours(2)),
            (
                "guard on\n guard_hold 2h",
                GuardOverrides { on: Some(false), hold: Some(hours(3)) },
                false,
                hours(3),
            ),
        ] {
            assert_eq!(guard(lines, flags), GuardConfig { on, hold }, "{lines}");
        }
    }
}
