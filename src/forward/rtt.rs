//! How long an upstream takes to reply, smoothed as RFC 6298 §2 does it. Pure.

use std::time::Duration;

/// A smoothed time and its deviation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt(Option<(Duration, Duration)>);

impl Rtt {
    /// A reply came after `took`, or none had come after it.
    pub(super) fn sample(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(took);
                ((mean * 7 + took) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    /// After this time a reply is late: the mean and four deviations, within `least..=most`; `most` while nothing
    /// is known.
    pub(super) fn late_after(&self, least: Duration, most: Duration) -> Duration {
        self.0.map_or(most, |(mean, deviation)| (mean + deviation * 4).clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_late_follows_what_is_usual() {
        struct Case {
            name: &'static str,
            samples: Vec<u64>,
            want: std::ops::RangeInclusive<u64>,
        }
        let cases = [
            Case { name: "nothing known", samples: vec![], want: 400..=400 },
            Case { name: "one sample: three times as long", samples: vec![30], want: 90..=90 },
            Case { name: "a near server", samples: vec![1; 40], want: 20..=20 },
            Case { name: "a far one", samples: vec![150; 60], want: 150..=160 },
            Case { name: "an unsteady one", samples: [10, 90].repeat(30), want: 180..=260 },
            Case { name: "a slow one", samples: vec![900; 9], want: 400..=400 },
            Case {
                name: "slow once, then as before",
                samples: [vec![300], vec![5; 40]].concat(),
                want: 20..=20,
            },
        ];
        for Case { name, samples, want } in cases {
            let mut rtt = Rtt::default();
            samples.into_iter().for_each(|sample| rtt.sample(ms(sample)));
            let late = rtt.late_after(ms(20), ms(400));
            assert!((ms(*want.start())..=ms(*want.end())).contains(&late), "{name}: {late:?}");
        }
    }
}
