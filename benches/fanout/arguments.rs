//! What the command line asks for.

/// The arguments.
pub(crate) struct Arguments {
    /// Services of the cluster.
    pub(crate) services: usize,
    /// Its endpoints.
    pub(crate) endpoints: usize,
    /// How many followers, one run each.
    pub(crate) followers: Vec<usize>,
    /// Changes a second.
    pub(crate) rate: u32,
    /// For how long, in seconds.
    pub(crate) seconds: u32,
}

impl Arguments {
    /// Reads them; cargo itself adds `--bench`.
    pub(crate) fn read() -> Result<Self, String> {
        let quick = std::env::args().any(|a| a == "--quick");
        let mut read = if quick {
            Self { services: 1_000, endpoints: 10_090, followers: vec![100], rate: 100, seconds: 5 }
        } else {
            Self {
                services: 10_000,
                endpoints: 100_900,
                followers: vec![1_000, 5_000],
                rate: 100,
                seconds: 60,
            }
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: &str| match text.parse::<u32>() {
                Ok(0) | Err(_) => Err(format!("{text:?} is not a number from 1")),
                Ok(number) => Ok(number),
            };
            match &*word {
                "--quick" | "--bench" => {}
                "--services" => read.services = number(&value()?)? as usize,
                "--endpoints" => read.endpoints = number(&value()?)? as usize,
                "--followers" => {
                    let numbers = value()?;
                    let numbers = numbers.split(',').map(|n| number(n).map(|n| n as usize));
                    read.followers = numbers.collect::<Result<_, _>>()?;
                }
                "--rate" => read.rate = number(&value()?)?,
                "--seconds" => read.seconds = number(&value()?)?,
                other => return Err(format!("{other:?} is no argument of this bench")),
            }
        }
        Ok(read)
    }
}
