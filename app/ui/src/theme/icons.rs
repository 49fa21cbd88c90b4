//! Icons, drawn: no picture and no glyph is loaded for them. Verdicts differ by outline as well as by what is inside.

use egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, pos2, vec2};

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Icon {
    /// A check in a circle.
    Accept,
    /// A cross in an octagon.
    Reject,
    /// A question mark in a diamond.
    Inconclusive,
    /// An exclamation mark in a triangle.
    Error,
    /// A dash in a dotted circle.
    Skipped,
    /// An equals sign in a disc.
    Exact,
    /// A wave in a ring.
    Near,
    /// Two sheets.
    Copy,
    /// A check.
    Check,
    /// A cross.
    Close,
    /// An arrow into a tray.
    Save,
    /// A sheet.
    File,
    /// A folder.
    Folder,
    /// A triangle.
    Play,
    /// A die.
    Dice,
    /// Three lines.
    Menu,
    /// A glass.
    Search,
    /// A bracket that opens downward.
    Down,
    /// A bracket that opens to the right.
    Right,
    /// A bracket that opens to the left.
    Left,
    /// A circle, half full.
    Theme,
    /// An arrow that turns back.
    Reset,
    /// A key.
    Key,
    /// Two arrows, there and back.
    Exchange,
}

/// Draws `icon` into `rect`.
pub(crate) fn paint(painter: &Painter, rect: Rect, icon: Icon, color: Color32) {
    let side = rect.width().min(rect.height());
    let rect = Rect::from_center_size(rect.center(), vec2(side, side));
    // Coordinates in 0..=24, as icons are usually drawn.
    let at = |x: f32, y: f32| pos2(rect.min.x + x / 24.0 * side, rect.min.y + y / 24.0 * side);
    let stroke = Stroke::new((side / 12.0).clamp(1.25, 3.0), color);
    let line = |points: &[(f32, f32)]| {
        painter.line(points.iter().map(|&(x, y)| at(x, y)).collect(), stroke);
    };
    let outline = |points: Vec<Pos2>| {
        painter.add(Shape::closed_line(points, stroke));
    };
    let ring = |radius: f32| {
        painter.circle_stroke(rect.center(), radius / 24.0 * side, stroke);
    };
    let dot = |x: f32, y: f32, radius: f32| {
        painter.circle_filled(at(x, y), radius / 24.0 * side, color);
    };
    match icon {
        Icon::Accept => {
            ring(10.0);
            line(&[(7.5, 12.5), (10.7, 15.6), (16.5, 9.0)]);
        }
        Icon::Reject => {
            let corner = |i: usize| {
                let angle = std::f32::consts::TAU * (i as f32 + 0.5) / 8.0;
                at(12.0 + 10.6 * angle.cos(), 12.0 + 10.6 * angle.sin())
            };
            outline((0..8).map(corner).collect());
            line(&[(8.6, 8.6), (15.4, 15.4)]);
            line(&[(15.4, 8.6), (8.6, 15.4)]);
        }
        Icon::Inconclusive => {
            outline(vec![
                at(12.0, 0.8),
                at(23.2, 12.0),
                at(12.0, 23.2),
                at(0.8, 12.0),
            ]);
            line(&[
                (9.4, 9.4),
                (9.9, 8.0),
                (11.2, 7.2),
                (12.8, 7.2),
                (14.2, 8.1),
                (14.6, 9.6),
                (13.9, 11.1),
                (12.4, 12.2),
                (12.0, 13.6),
            ]);
            dot(12.0, 16.8, 1.3);
        }
        Icon::Error => {
            outline(vec![at(12.0, 2.0), at(23.0, 21.5), at(1.0, 21.5)]);
            line(&[(12.0, 9.0), (12.0, 14.5)]);
            dot(12.0, 18.0, 1.3);
        }
        Icon::Skipped => {
            for i in 0..12 {
                let angle = std::f32::consts::TAU * i as f32 / 12.0;
                dot(12.0 + 9.6 * angle.cos(), 12.0 + 9.6 * angle.sin(), 0.9);
            }
            line(&[(8.5, 12.0), (15.5, 12.0)]);
        }
        Icon::Exact => {
            painter.circle_filled(rect.center(), 10.0 / 24.0 * side, color);
            let knockout = Stroke::new(stroke.width, readable_on(color));
            painter.line(vec![at(7.5, 10.0), at(16.5, 10.0)], knockout);
            painter.line(vec![at(7.5, 14.0), at(16.5, 14.0)], knockout);
        }
        Icon::Near => {
            ring(10.0);
            for y in [9.8, 14.2] {
                line(&[
                    (7.0, y + 0.8),
                    (9.0, y - 0.9),
                    (12.0, y),
                    (15.0, y + 0.9),
                    (17.0, y - 0.8),
                ]);
            }
        }
        Icon::Copy => {
            let sheet = Rect::from_min_max(at(8.0, 8.0), at(20.0, 20.0));
            painter.rect_stroke(sheet, 2.0, stroke, egui::StrokeKind::Middle);
            line(&[
                (4.5, 15.5),
                (4.0, 15.0),
                (4.0, 5.0),
                (5.0, 4.0),
                (15.0, 4.0),
                (15.5, 4.5),
            ]);
        }
        Icon::Check => line(&[(5.0, 12.5), (10.0, 17.5), (19.5, 7.0)]),
        Icon::Close => {
            line(&[(6.0, 6.0), (18.0, 18.0)]);
            line(&[(18.0, 6.0), (6.0, 18.0)]);
        }
        Icon::Save => {
            line(&[(12.0, 3.5), (12.0, 15.0)]);
            line(&[(7.0, 10.5), (12.0, 15.5), (17.0, 10.5)]);
            line(&[(4.0, 16.0), (4.0, 20.0), (20.0, 20.0), (20.0, 16.0)]);
        }
        Icon::File => {
            line(&[
                (13.5, 3.0),
                (6.0, 3.0),
                (6.0, 21.0),
                (18.0, 21.0),
                (18.0, 7.5),
                (13.5, 3.0),
                (13.5, 7.5),
                (18.0, 7.5),
            ]);
        }
        Icon::Folder => {
            outline(vec![
                at(3.0, 6.0),
                at(9.0, 6.0),
                at(11.0, 8.5),
                at(21.0, 8.5),
                at(21.0, 19.0),
                at(3.0, 19.0),
            ]);
        }
        Icon::Play => {
            let corners = vec![at(7.0, 4.5), at(19.0, 12.0), at(7.0, 19.5)];
            painter.add(Shape::convex_polygon(corners, color, Stroke::NONE));
        }
        Icon::Dice => {
            let die = Rect::from_min_max(at(4.0, 4.0), at(20.0, 20.0));
            painter.rect_stroke(die, 3.0, stroke, egui::StrokeKind::Middle);
            for (x, y) in [
                (8.5, 8.5),
                (15.5, 8.5),
                (12.0, 12.0),
                (8.5, 15.5),
                (15.5, 15.5),
            ] {
                dot(x, y, 1.4);
            }
        }
        Icon::Menu => {
            for y in [6.5, 12.0, 17.5] {
                line(&[(4.0, y), (20.0, y)]);
            }
        }
        Icon::Search => {
            painter.circle_stroke(at(10.5, 10.5), 6.0 / 24.0 * side, stroke);
            line(&[(15.0, 15.0), (20.0, 20.0)]);
        }
        Icon::Down => line(&[(6.0, 9.5), (12.0, 15.5), (18.0, 9.5)]),
        Icon::Right => line(&[(9.5, 6.0), (15.5, 12.0), (9.5, 18.0)]),
        Icon::Left => line(&[(14.5, 6.0), (8.5, 12.0), (14.5, 18.0)]),
        Icon::Theme => {
            ring(8.5);
            let half = |i: usize| {
                let angle = std::f32::consts::PI * (i as f32 / 12.0 - 0.5);
                at(12.0 + 8.5 * angle.cos(), 12.0 + 8.5 * angle.sin())
            };
            let points = (0..=12).map(half).collect();
            painter.add(Shape::convex_polygon(points, color, Stroke::NONE));
        }
        Icon::Key => {
            painter.circle_stroke(at(8.0, 15.5), 4.5 / 24.0 * side, stroke);
            line(&[(11.3, 12.3), (20.0, 3.5)]);
            line(&[(16.0, 7.6), (19.2, 10.8)]);
            line(&[(18.6, 5.0), (20.8, 7.2)]);
        }
        Icon::Exchange => {
            line(&[(4.0, 8.5), (20.0, 8.5)]);
            line(&[(15.5, 4.0), (20.0, 8.5), (15.5, 13.0)]);
            line(&[(20.0, 16.5), (4.0, 16.5)]);
            line(&[(8.5, 12.0), (4.0, 16.5), (8.5, 21.0)]);
        }
        Icon::Reset => {
            let arc = |i: usize| {
                let angle = std::f32::consts::TAU * (0.12 + 0.76 * i as f32 / 20.0) - 1.9;
                (12.0 + 8.0 * angle.cos(), 12.0 + 8.0 * angle.sin())
            };
            let points: Vec<(f32, f32)> = (0..=20).map(arc).collect();
            line(&points);
            if let Some(&(x, y)) = points.first() {
                line(&[(x - 0.5, y - 5.0), (x, y), (x + 4.8, y - 1.2)]);
            }
        }
    }
}

/// Black or white, whichever is seen on `color`.
fn readable_on(color: Color32) -> Color32 {
    let light =
        299 * u32::from(color.r()) + 587 * u32::from(color.g()) + 114 * u32::from(color.b());
    if light > 128_000 {
        Color32::from_gray(16)
    } else {
        Color32::WHITE
    }
}

/// The mark of the app: a balance beam over its weights.
pub(crate) fn paint_mark(painter: &Painter, rect: Rect, color: Color32) {
    let side = rect.width().min(rect.height());
    let at = |x: f32, y: f32| pos2(rect.min.x + x / 24.0 * side, rect.min.y + y / 24.0 * side);
    let stroke = Stroke::new((side / 11.0).max(1.5), color);
    painter.line(vec![at(12.0, 2.5), at(12.0, 20.5)], stroke);
    painter.line(vec![at(3.5, 6.5), at(20.5, 6.5)], stroke);
    painter.line(vec![at(7.5, 21.0), at(16.5, 21.0)], stroke);
    for x in [5.0, 19.0] {
        let pan: Vec<Pos2> = (0..=10)
            .map(|i| {
                let angle = std::f32::consts::PI * i as f32 / 10.0;
                at(x - 4.0 * angle.cos(), 12.0 + 4.0 * angle.sin())
            })
            .collect();
        painter.add(Shape::convex_polygon(pan, color, Stroke::NONE));
        painter.line(
            vec![at(x - 3.6, 12.0), at(x, 6.5), at(x + 3.6, 12.0)],
            Stroke::new(stroke.width * 0.6, color),
        );
    }
}
