//! Files that a result can be saved as.

use assay_sheet::Sheet;
use assay_verify::audit::AuditReport;
use egui::{ColorImage, Rect};

use crate::judged::Judged;
use crate::text;

/// A file to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub name: String,
    pub mime: &'static str,
    pub bytes: Vec<u8>,
}

/// The report, byte for byte as the command line prints it.
pub(crate) fn report(judged: &Judged) -> File {
    File {
        name: format!("{}.report.json", name(judged)),
        mime: "application/json",
        bytes: judged.text.clone().into_bytes(),
    }
}

/// The in-toto statement.
pub(crate) fn statement(judged: &Judged, build: &str) -> Result<File, String> {
    let statement = assay_verify::statement::in_toto(&judged.report, build, &text::now());
    let text = serde_json::to_string_pretty(&statement).map_err(|err| err.to_string())?;
    Ok(File {
        name: format!("{}.intoto.json", name(judged)),
        mime: "application/vnd.in-toto+json",
        bytes: text.into_bytes(),
    })
}

/// A study's sheet, as this or another program opens it.
pub(crate) fn sheet(sheet: &Sheet) -> Result<File, String> {
    let text = sheet.to_json().map_err(|err| err.to_string())?;
    Ok(File {
        name: "sheet.json".to_owned(),
        mime: "application/json",
        bytes: text.into_bytes(),
    })
}

/// Figures by position; of an audit, which has none, by stream.
pub(crate) fn csv(judged: &Judged) -> File {
    let text = match &judged.report.audit {
        Some(audit) => streams(audit),
        None => judged.details.to_csv(),
    };
    File {
        name: format!("{}.figures.csv", name(judged)),
        mime: "text/csv",
        bytes: text.into_bytes(),
    }
}

/// A line for each stream, RFC 4180, with a head line. All words are the verifier's own, and plain.
fn streams(audit: &AuditReport) -> String {
    let mut csv = String::from(
        "stream,how,rows,relative_error,honest_error,detects,row_over_limit,pooled_over_limit,element_over_bound,\
         residual_over_bound,mse\r\n",
    );
    for stream in &audit.streams {
        let numbers = [
            stream.relative_error,
            stream.honest_error,
            stream.detects,
            stream.row_over_limit,
            stream.pooled_over_limit,
            stream.element_over_bound,
            stream.residual_over_bound,
            stream.mse,
        ];
        csv += &format!("{},{},{}", stream.name, stream.how, stream.rows);
        for number in numbers {
            csv += ",";
            csv += &number.map(|number| number.to_string()).unwrap_or_default();
        }
        csv += "\r\n";
    }
    csv
}

/// The part `rect` (points) of a picture of the whole window.
pub(crate) fn png(
    image: &ColorImage,
    rect: Rect,
    pixels_per_point: f32,
    name: &str,
) -> Result<File, String> {
    let [width, height] = image.size;
    let pixel = |x: f32, most: usize| ((x * pixels_per_point).round().max(0.0) as usize).min(most);
    let (left, right) = (pixel(rect.min.x, width), pixel(rect.max.x, width));
    let (top, bottom) = (pixel(rect.min.y, height), pixel(rect.max.y, height));
    let mut bytes = Vec::new();
    for row in image
        .pixels
        .chunks_exact(width.max(1))
        .take(bottom)
        .skip(top)
    {
        for pixel in row.iter().take(right).skip(left) {
            bytes.extend([pixel.r(), pixel.g(), pixel.b()]);
        }
    }
    let size = |from: usize, to: usize| u32::try_from(to.saturating_sub(from)).unwrap_or(0);
    let (w, h) = (size(left, right), size(top, bottom));
    if w == 0 || h == 0 {
        return Err("the plot is not on screen".to_owned());
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, w, h);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|err| err.to_string())?;
    writer
        .write_image_data(&bytes)
        .map_err(|err| err.to_string())?;
    writer.finish().map_err(|err| err.to_string())?;
    Ok(File {
        name: format!("assay-{name}.png"),
        mime: "image/png",
        bytes: out,
    })
}

/// What files about this verdict begin with.
fn name(judged: &Judged) -> String {
    match judged.live {
        // It came in no file.
        Some(_) => "live".to_owned(),
        None => stem(&judged.trace),
    }
}

/// A file's name without its last extension, fit to be a name elsewhere.
fn stem(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let stem: String = stem.chars().take(80).map(safe).collect();
    if stem.trim_matches('.').is_empty() {
        "trace".to_owned()
    } else {
        stem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::{Color32, pos2};

    #[test]
    fn pictures_are_cut_to_the_plot() {
        let image = ColorImage::filled([20, 10], Color32::from_rgb(1, 2, 3));
        let file = png(
            &image,
            Rect::from_min_max(pos2(1.0, 1.0), pos2(4.0, 3.0)),
            2.0,
            "plot",
        )
        .unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(&file.bytes));
        let info = decoder.read_info().unwrap();
        assert_eq!((info.info().width, info.info().height), (6, 4));
        assert!(
            png(
                &image,
                Rect::from_min_max(pos2(90.0, 1.0), pos2(99.0, 3.0)),
                2.0,
                "plot"
            )
            .is_err()
        );
    }

    #[test]
    fn names_are_safe() {
        assert_eq!(stem("honest.bin"), "honest");
        assert_eq!(stem("../../a b\u{202e}.bin"), ".._.._a_b_");
        assert_eq!(stem(".bin"), "trace");
    }
}
