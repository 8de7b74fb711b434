//! Whether an API server is really cut off from hubs: an outage that leaves watches alive is none, and looks like one. Pure.
//!
//! NetworkPolicies of several CNIs apply to new connections only: requests fail, and the watches that are open go on.

use std::time::Duration;

use tokio::time::Instant;

/// For how long everything has to stand still.
pub(super) const STILL: Duration = Duration::from_secs(30);

/// The part of the time that the data's age has to have grown by: what is looked at is not looked at exactly then.
const GROWTH: f64 = 0.8;

/// What a hub has said of itself at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// When.
    pub(super) at: Instant,
    /// Age of its data in seconds.
    pub(super) age: f64,
    /// Whether the API server answered it.
    pub(super) ready: bool,
    /// How far its data has come, all kinds together.
    pub(super) version: f64,
    /// How long its watches were open when they last said something, in seconds, all kinds together.
    pub(super) watched: f64,
    /// Requests that the API server has answered.
    pub(super) answered: f64,
}

/// What is known of the cut at one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is real, since then.
    Real(Instant),
    /// It is none yet, for this reason.
    Not(String),
}

/// What samples of a hub say, the oldest first.
pub(super) fn judge(samples: &[Sample]) -> Cut {
    let Some(last) = samples.last() else { return Cut::Not("nothing is known of it".to_owned()) };
    if last.ready {
        return Cut::Not("the API server answers it".to_owned());
    }
    let Some(first) = samples.iter().rev().find(|sample| last.at - sample.at >= STILL) else {
        return Cut::Not("the API server does not answer it, for a moment".to_owned());
    };
    let passed = (last.at - first.at).as_secs_f64();
    // Invariant: nothing that the API server could have said has reached it.
    if last.version != first.version || last.watched > first.watched {
        return Cut::Not(
            "requests fail, and an established watch goes on: NetworkPolicies of this network leave open connections; \
             delete the hub's pod, or cut at the node"
                .to_owned(),
        );
    }
    if last.answered != first.answered {
        return Cut::Not("some of its requests are answered".to_owned());
    }
    if last.age - first.age < passed * GROWTH {
        return Cut::Not("its data goes on being proved".to_owned());
    }
    Cut::Real(first.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Age, whether it is ready, version, how long watches were open, requests that were answered.
    type Row = (f64, bool, f64, f64, f64);

    /// Samples each ten seconds.
    fn samples(rows: &[Row]) -> Vec<Sample> {
        let began = Instant::now();
        let sample = |(n, (age, ready, version, watched, answered)): (usize, &Row)| Sample {
            at: began + Duration::from_secs(10) * n as u32,
            age: *age,
            ready: *ready,
            version: *version,
            watched: *watched,
            answered: *answered,
        };
        rows.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn a_cut_that_leaves_something_alive_is_none() {
        let open = (2.0, true, 7.0, 50.0, 9.0);
        let away = |age, version, watched, answered| (age, false, version, watched, answered);
        for (name, rows, want) in [
            ("nothing", vec![], Some("nothing is known")),
            ("all is well", vec![open, open, open, open], Some("answers it")),
            ("just now", vec![open, away(5.0, 7.0, 50.0, 9.0)], Some("for a moment")),
            ("real", [5.0, 15.0, 25.0, 35.0].map(|age| away(age, 7.0, 0.0, 9.0)).to_vec(), None),
            (
                "nothing gets through",
                [5.0, 15.0, 25.0, 35.0].map(|age| away(age, 7.0, 50.0, 9.0)).to_vec(),
                None,
            ),
            (
                "a watch has ended at last",
                vec![
                    away(5.0, 7.0, 50.0, 9.0),
                    away(15.0, 7.0, 50.0, 9.0),
                    away(25.0, 7.0, 0.0, 9.0),
                    away(35.0, 7.0, 0.0, 9.0),
                ],
                None,
            ),
            (
                "events come",
                [5.0, 15.0, 25.0, 35.0].map(|n| away(n, n, 50.0, 9.0)).to_vec(),
                Some("an established watch goes on"),
            ),
            (
                "a watch says something",
                [5.0, 15.0, 25.0, 35.0].map(|n| away(n, 7.0, 50.0 + n, 9.0)).to_vec(),
                Some("an established watch goes on"),
            ),
            (
                "some requests get through",
                [5.0, 15.0, 25.0, 35.0].map(|n| away(n, 7.0, 0.0, n)).to_vec(),
                Some("some of its requests"),
            ),
            (
                "it is proved all the same",
                [5.0, 6.0, 5.0, 6.0].map(|age| away(age, 7.0, 0.0, 9.0)).to_vec(),
                Some("goes on being proved"),
            ),
        ] {
            let cut = judge(&samples(&rows));
            match (&cut, want) {
                (Cut::Real(_), None) => {}
                (Cut::Not(why), Some(want)) => assert!(why.contains(want), "{name}: {why}"),
                _ => panic!("{name}: {cut:?}"),
            }
        }
    }
}
