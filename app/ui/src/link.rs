//! `layer=..&token=..`: a place in a trace, as the part of an address after `#`.

/// A hidden state at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Hidden state; 0 is the embedding.
    pub layer: u32,
    /// Position in prompt plus output.
    pub position: usize,
}

/// Reads a fragment, with `#` or without. What is missing is 0; `None` if it names neither.
pub(crate) fn parse(fragment: &str) -> Option<Place> {
    let (mut layer, mut position) = (None, None);
    for pair in fragment.trim_start_matches('#').split('&') {
        match pair.split_once('=') {
            Some(("layer", value)) => layer = value.parse().ok(),
            Some(("token", value)) => position = value.parse().ok(),
            _ => {}
        }
    }
    if layer.is_none() && position.is_none() {
        return None;
    }
    Some(Place {
        layer: layer.unwrap_or(0),
        position: position.unwrap_or(0),
    })
}

/// The reverse, without `#`.
pub(crate) fn format(place: Place) -> String {
    format!("layer={}&token={}", place.layer, place.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let place = Place {
            layer: 8,
            position: 67,
        };
        assert_eq!(parse(&format(place)), Some(place));
        assert_eq!(
            parse("#token=3"),
            Some(Place {
                layer: 0,
                position: 3
            })
        );
        for none in [
            "",
            "#",
            "layer=-1",
            "x=1",
            "layer",
            "token=99999999999999999999999",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
