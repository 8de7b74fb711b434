use super::*;
use crate::ops::pulse::Who;

const STUCK: Signs = Signs { rules: false, ..Signs::HEALTHY };

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A beat that is told what happens, in milliseconds from the start.
struct Told {
    beat: Beat,
    start: Instant,
    at: u64,
}

impl Told {
    fn new() -> Self {
        Self { beat: Beat::new(Policy::DEFAULT), start: Instant::now(), at: 0 }
    }

    /// One beat at `at`; what is to be renewed is.
    fn at(&mut self, at: u64, signs: Signs) -> Act {
        let now = self.start + ms(at);
        self.at = at;
        let act = self.beat.judge(now, &signs);
        if matches!(act, Act::Renew | Act::Resumed) {
            self.beat.renewed(now);
        }
        act
    }

    /// Beats with these signs until something else comes of it than before; when, and what.
    fn until_other(&mut self, signs: Signs) -> (u64, Act) {
        let first = self.at(self.at + 300, signs);
        loop {
            let act = self.at(self.at + 300, signs);
            if std::mem::discriminant(&act) != std::mem::discriminant(&first) {
                return (self.at, act);
            }
            assert!(self.at < 3_600_000, "{act:?} for ever");
        }
    }

    /// Withdrawn by three sick beats: the pause.
    fn withdrawn(&mut self) -> Duration {
        match self.until_other(STUCK) {
            (_, Act::Withdrawn { pause, .. }) => pause,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_wrong_is_named_the_nearest_cause_first() {
    let place: SocketAddr = "10.96.0.10:53".parse().unwrap();
    let silent = Silent { who: Who::Part { place, part: Part::Udp }, since: Some(ms(300)) };
    let all =
        Signs { ready: false, silent: Some(silent), unanswered: Some((place, Part::Tcp)), rules: false };
    let cases = [
        ("nothing", Signs::HEALTHY, None, ""),
        ("everything", all, Some("readiness"), "not ready to answer"),
        (
            "a thread, and therefore a probe",
            Signs { ready: true, ..all },
            Some("listener"),
            "udp at 10.96.0.10:53 gives no sign of life for 300 ms",
        ),
        (
            "a probe",
            Signs { ready: true, silent: None, ..all },
            Some("tcp_probe"),
            "a tcp probe of 10.96.0.10:53 was not answered",
        ),
        (
            "the other probe",
            Signs { unanswered: Some((place, Part::Udp)), ..Signs::HEALTHY },
            Some("udp_probe"),
            "a udp probe of 10.96.0.10:53 was not answered",
        ),
        ("rules", STUCK, Some("rules"), "links, addresses or rules are not as they should be"),
    ];
    for (name, signs, reason, text) in cases {
        let why = signs.sick();
        assert_eq!(why.map(|why| why.reason()), reason, "{name}");
        assert_eq!(why.map(|why| why.to_string()).unwrap_or_default(), text, "{name}");
        assert!(reason.is_none_or(|reason| Why::REASONS.contains(&reason)), "{name}");
    }
}

#[test]
fn it_begins_with_the_first_healthy_beat() {
    let mut told = Told::new();
    assert_eq!(told.at(0, STUCK), Act::Skip(Why::Rules));
    assert_eq!(told.at(300_000, STUCK), Act::Skip(Why::Rules), "nothing was there to withdraw");
    assert!(!told.beat.is_live() && !told.beat.is_out());
    assert_eq!(told.at(300_300, Signs::HEALTHY), Act::Renew);
    assert!(told.beat.is_live());
}

#[test]
fn sick_beats_are_skipped_as_long_as_the_element_lives_until_the_next() {
    struct Case {
        name: &'static str,
        /// Beats after a healthy one at 0: when, and whether all was well.
        beats: &'static [(u64, bool)],
        want: &'static [&'static str],
    }
    let cases = [
        Case { name: "one", beats: &[(300, false), (600, true)], want: &["skip", "renew"] },
        Case {
            name: "two",
            beats: &[(300, false), (600, false), (900, true)],
            want: &["skip", "skip", "renew"],
        },
        Case {
            name: "three",
            beats: &[(300, false), (600, false), (900, false), (1200, true)],
            want: &["skip", "skip", "withdrawn", "rest"],
        },
        Case {
            name: "every other one",
            beats: &[(300, false), (600, true), (900, false), (1200, true), (1500, false), (1800, true)],
            want: &["skip", "renew", "skip", "renew", "skip", "renew"],
        },
        Case {
            name: "a late one: there is no time for another",
            beats: &[(701, false)],
            want: &["withdrawn"],
        },
        Case { name: "just in time", beats: &[(700, false)], want: &["skip"] },
        Case { name: "late, and all is well", beats: &[(2000, true)], want: &["renew"] },
        Case {
            name: "stopped for longer",
            beats: &[(2001, true), (2301, true)],
            want: &["withdrawn", "rest"],
        },
    ];
    for Case { name, beats, want } in cases {
        let mut told = Told::new();
        assert_eq!(told.at(0, Signs::HEALTHY), Act::Renew);
        let acts: Vec<_> = beats
            .iter()
            .map(|(at, well)| match told.at(*at, if *well { Signs::HEALTHY } else { STUCK }) {
                Act::Renew => "renew",
                Act::Skip(_) => "skip",
                Act::Withdrawn { .. } => "withdrawn",
                Act::Rest { .. } => "rest",
                Act::Resumed => "resumed",
            })
            .collect();
        assert_eq!(acts, want, "{name}");
    }
}

#[test]
fn who_was_stopped_hears_for_how_long() {
    let mut told = Told::new();
    told.at(0, Signs::HEALTHY);
    let want = Act::Withdrawn { why: Why::Late(ms(4000)), pause: Duration::from_secs(5) };
    assert_eq!(told.at(4000, Signs::HEALTHY), want);
    assert_eq!(Why::Late(ms(4000)).to_string(), "no beat for 4000 ms");
}

#[test]
fn it_comes_back_after_unbroken_health() {
    let mut told = Told::new();
    told.at(0, Signs::HEALTHY);
    assert_eq!(told.withdrawn(), Duration::from_secs(5));
    let out = told.at;
    assert_eq!(told.at(out + 300, STUCK), Act::Rest { left: Duration::from_secs(5), why: Some(Why::Rules) });
    assert_eq!(told.at(out + 600, Signs::HEALTHY), Act::Rest { left: Duration::from_secs(5), why: None });
    assert_eq!(told.at(out + 5_500, Signs::HEALTHY), Act::Rest { left: ms(100), why: None });
    assert!(matches!(told.at(out + 5_550, STUCK), Act::Rest { .. }), "health was broken");
    assert_eq!(told.at(out + 5_600, Signs::HEALTHY), Act::Rest { left: Duration::from_secs(5), why: None });
    assert!(told.beat.is_out());
    assert_eq!(told.at(out + 10_600, Signs::HEALTHY), Act::Resumed);
    assert_eq!(told.at(out + 10_900, Signs::HEALTHY), Act::Renew);
}

#[test]
fn each_pause_is_longer_until_all_was_well_for_long() {
    let mut told = Told::new();
    told.at(0, Signs::HEALTHY);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        pauses.push(told.withdrawn().as_secs());
        assert_eq!(told.until_other(Signs::HEALTHY).1, Act::Resumed);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60, 60]);
    // Nine minutes are not enough.
    let until = told.at + 540_000;
    while told.at < until {
        assert_eq!(told.at(told.at + 300, Signs::HEALTHY), Act::Renew);
    }
    assert_eq!(told.withdrawn().as_secs(), 60);
    assert_eq!(told.until_other(Signs::HEALTHY).1, Act::Resumed);
    let until = told.at + 600_000;
    while told.at < until {
        assert_eq!(told.at(told.at + 300, Signs::HEALTHY), Act::Renew);
    }
    assert_eq!(told.withdrawn().as_secs(), 5);
}

#[test]
fn a_renewal_that_failed_is_none() {
    let mut told = Told::new();
    told.at(0, Signs::HEALTHY);
    // The datagram could not be sent, and nobody said that it was renewed.
    assert_eq!(told.beat.judge(told.start + ms(300), &Signs::HEALTHY), Act::Renew);
    assert_eq!(told.beat.judge(told.start + ms(600), &STUCK), Act::Skip(Why::Rules));
    assert!(matches!(told.beat.judge(told.start + ms(900), &STUCK), Act::Withdrawn { .. }));
}

#[test]
fn a_renewal_that_is_refused_is_tried_again_after_each_longer_pause() {
    let mut told = Told::new();
    let (mut pauses, mut tried) = (Vec::new(), Vec::new());
    while pauses.len() < 3 {
        let now = told.start + ms(told.at);
        if matches!(told.beat.judge(now, &Signs::HEALTHY), Act::Renew | Act::Resumed) {
            tried.push(told.at);
            pauses.push(told.beat.refused(now).as_secs());
            assert!(told.beat.is_out());
        }
        told.at += 300;
    }
    assert_eq!(pauses, [5, 10, 20]);
    assert_eq!(tried, [0, 5_400, 15_900], "the first healthy beat is where a pause begins");
    assert_eq!(told.until_other(Signs::HEALTHY).1, Act::Resumed);
    assert!(told.beat.is_live(), "nobody refuses it any more");
    let calm = told.start + ms(told.at + 600_000);
    assert_eq!(told.beat.refused(calm).as_secs(), 5, "all was well for long");
}

#[test]
fn who_gives_up_on_purpose_begins_anew() {
    let mut told = Told::new();
    told.at(0, Signs::HEALTHY);
    told.beat.given_up();
    assert!(!told.beat.is_live() && !told.beat.is_out());
    assert_eq!(told.at(60_000, Signs::HEALTHY), Act::Renew, "no pause, and nothing was late");
}

#[test]
fn the_worst_case_is_a_second_and_a_little() {
    let Policy { life, silent, period, .. } = Policy::DEFAULT;
    // A part falls silent right after a sign of life. Until its silence counts, beats renew.
    assert!(silent + life <= ms(1150));
    assert!(period * 3 < life, "two beats may be skipped, and the third one is in time");
}

#[test]
fn elements_that_a_late_beat_finds_have_lapsed() {
    let began = Instant::now();
    for (policy, want) in [(Policy::DEFAULT, Some(500)), (Policy::WITHOUT_EXPIRY, None)] {
        let mut beat = Beat::new(policy);
        assert_eq!(beat.lapsed(began), None, "there were none");
        beat.renewed(began);
        assert_eq!(beat.lapsed(began + policy.life - Duration::from_millis(1)), None);
        let late = began + policy.life + Duration::from_millis(500);
        assert_eq!(beat.lapsed(late), want.map(Duration::from_millis));
    }
}
