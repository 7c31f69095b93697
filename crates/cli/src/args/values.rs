//! Values as people type them: durations, bounds, variants, rates.

use std::path::PathBuf;
use std::str::FromStr;

use kinglet_codec::Decimal;
use kinglet_train::recording::Bound;

/// Where readings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The generated indoor climate.
    Generated,
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// `None` is the generated climate, `-` is standard input.
    pub(crate) fn from_arg(path: Option<PathBuf>) -> Self {
        match path {
            None => Self::Generated,
            Some(path) if path.as_os_str() == "-" => Self::Stdin,
            Some(path) => Self::File(path),
        }
    }
}

/// A duration in milliseconds: `250ms`, `30s`, `5m`, `1h30m`, `2d`; a bare number is seconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a duration: say 250ms, 30s, 5m, 1h30m or 2d");
    let unit_ms = |unit: &str| match unit {
        "ms" => Some(1u64),
        "s" | "" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (number, tail) =
            rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        if unit.is_empty() && number.len() != text.trim().len() {
            return Err(bad());
        }
        let number: Decimal = number.trim().parse().map_err(|_| bad())?;
        let (scale, unit_ms) = (number.scale(), unit_ms(unit).ok_or_else(bad)?);
        let ms = i128::from(number.mantissa()) * i128::from(unit_ms);
        let ms = u64::try_from(ms / 10i128.pow(u32::from(scale))).map_err(|_| bad())?;
        total = total.checked_add(ms).filter(|&ms| ms <= 366 * 86_400_000).ok_or_else(bad)?;
        rest = tail;
    }
    Ok(total)
}

/// As [`duration_ms`], refusing zero.
pub(crate) fn period_ms(text: &str) -> Result<u32, String> {
    match u32::try_from(duration_ms(text)?) {
        Ok(0) => Err("a period is at least 1ms".into()),
        Ok(ms) => Ok(ms),
        Err(_) => Err("a period is at most 49 days".into()),
    }
}

/// A share from 0 to 1: `0.2` or `20%`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(x) if (0.0..=1.0).contains(&(x * unit)) => Ok(x * unit),
        _ => Err(format!("`{text}` is not a share: say 0.2 or 20%")),
    }
}

/// Frames per second: `50`, `50/s`, `600/min`.
pub(crate) fn rate_hz(text: &str) -> Result<f64, String> {
    let (number, per_s) = match text.trim().split_once('/') {
        None => (text.trim(), 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "min" | "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some(_) => return Err(format!("`{text}` is not a rate: say 50/s, 600/min or 1/h")),
    };
    match number.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x / per_s),
        _ => Err(format!("`{text}` is not a rate: say 50/s, 600/min or 1/h")),
    }
}

/// How long a training may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Effort {
    /// Seconds; for a first look.
    Fast,
    /// The default.
    Normal,
    /// Minutes; several seeds, the best on rows held back is kept.
    High,
}

impl From<Effort> for kinglet_train::fit::Effort {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Fast => Self::Fast,
            Effort::Normal => Self::Normal,
            Effort::High => Self::High,
        }
    }
}

/// Bytes of a frame to be filled.
pub(crate) fn fill_len(text: &str) -> Result<usize, String> {
    let range = kinglet_node::FILL_LEN_MIN..=4096;
    let len = text.trim().parse().ok().filter(|len| range.contains(len));
    len.ok_or_else(|| {
        format!("`{text}` is no length of a frame: say {} to {} bytes", range.start(), range.end())
    })
}

/// What `--compare` varies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Variants {
    /// Latents of the autoencoder.
    Latent(Vec<usize>),
    /// Samples per window.
    Window(Vec<usize>),
    /// The bound of every channel.
    Bound(Vec<Bound>),
    /// Bytes of the autoencoder alone.
    Bytes(Vec<usize>),
    /// The seed.
    Seed(Vec<u64>),
}

impl FromStr for Variants {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = "say what to vary and its values: latent=1,2,4,8, window=16,32,64, bound=0.1,0.5%, \
                    bytes=4,8,16 or seed=1,2,3";
        fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
            let values: Option<Vec<T>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
            values.filter(|v| (1..=16).contains(&v.len()))
        }
        let (knob, values) = text.split_once('=').ok_or(help)?;
        let variants = match knob.trim() {
            "latent" => list(values).map(Self::Latent),
            "window" => list(values).map(Self::Window),
            "bound" => list(values).map(Self::Bound),
            "bytes" => list(values).map(Self::Bytes),
            "seed" => list(values).map(Self::Seed),
            _ => None,
        };
        variants.ok_or_else(|| help.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5s", 1_500), ("30", 30_000)]
        {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "m", "5x", "-1s", "1h30", "99999999999999d", "1e30d", "s5"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert!(period_ms("0").is_err());
    }

    #[test]
    fn shares_and_rates() {
        assert_eq!(share("20%"), Ok(0.2));
        assert!(share("1.2").is_err() && share("nan").is_err() && share("-1%").is_err());
        assert_eq!(rate_hz("600/min"), Ok(10.0));
        assert!(rate_hz("0").is_err() && rate_hz("inf").is_err() && rate_hz("5/week").is_err());
    }

    #[test]
    fn fills() {
        assert_eq!(fill_len("51"), Ok(51));
        for text in ["", "5", "-51", "51B", "99999"] {
            assert!(fill_len(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variants() {
        assert_eq!("latent=1,2,4".parse(), Ok(Variants::Latent(vec![1, 2, 4])));
        for text in ["latent", "latent=", "colour=1", "latent=1,x", "seed=-1"] {
            assert!(text.parse::<Variants>().is_err(), "{text}");
        }
    }
}
