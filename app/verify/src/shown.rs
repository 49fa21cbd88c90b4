//! How a report's numbers are shown to people, wherever they are shown.

/// Three digits, with an exponent where there would be many zeros.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e6 {
        format!("{value}")
    } else if (1e-3..1e5).contains(&size) {
        let places = if size >= 100.0 {
            1
        } else if size >= 1.0 {
            3
        } else {
            5
        };
        format!("{value:.places$}")
    } else {
        format!("{value:.2e}")
    }
}
