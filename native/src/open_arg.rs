//! `--open`: what of a run's linear outputs goes into the trace, for audits without weights.

use assay_prove::Open;

/// Output tokens whose logits are opened with `count=N` where nothing else is said.
const LOGITS: u32 = 16;

/// Reads `all`, `layers=1,5,9` or `count=N[,logits=M]`.
pub fn parse(text: &str) -> Result<Open, String> {
    const WANT: &str = "want `all`, `layers=1,5,9` or `count=4` (or `count=4,logits=16`)";
    let number = |text: &str| text.parse::<u32>().map_err(|_| WANT.to_owned());
    if text == "all" {
        return Ok(Open::All);
    }
    if let Some(list) = text.strip_prefix("layers=") {
        let mut layers = list
            .split(',')
            .map(number)
            .collect::<Result<Vec<u32>, String>>()?;
        layers.sort_unstable();
        layers.dedup();
        return Ok(Open::Layers(layers));
    }
    let rest = text.strip_prefix("count=").ok_or(WANT)?;
    let (layers, logits) = match rest.split_once(",logits=") {
        Some((layers, logits)) => (number(layers)?, number(logits)?),
        None => (number(rest)?, LOGITS),
    };
    if layers == 0 {
        return Err("at least one layer must be opened".to_owned());
    }
    Ok(Open::Draw { layers, logits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("all"), Ok(Open::All));
        assert_eq!(parse("layers=5,1,5"), Ok(Open::Layers(vec![1, 5])));
        let draw = |layers, logits| Ok(Open::Draw { layers, logits });
        assert_eq!(parse("count=4"), draw(4, LOGITS));
        assert_eq!(parse("count=2,logits=0"), draw(2, 0));
        for wrong in [
            "",
            "none",
            "layers=",
            "count=x",
            "count=0",
            "count=2,logits=",
            "layers=1;2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
