//! A rasteriser for egui's triangles, so that pictures of the app need no GPU and look the same everywhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use egui::epaint::{ImageData, Primitive, TextureId};
use egui::{Color32, ColorImage, TexturesDelta};
use egui_kittest::TestRenderer;

pub type Textures = Rc<RefCell<HashMap<TextureId, (ColorImage, bool)>>>;

/// Keeps the textures that egui makes.
pub struct Raster(pub Textures);

impl TestRenderer for Raster {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        let mut textures = self.0.borrow_mut();
        for (id, changes) in std::mem::take(&mut delta.set) {
            for change in changes {
                let ImageData::Color(image) = &change.image;
                match (change.pos, textures.get_mut(&id)) {
                    (Some([x, y]), Some((whole, _))) => {
                        for (row, line) in image.pixels.chunks(image.size[0].max(1)).enumerate() {
                            let start = (y + row) * whole.size[0] + x;
                            whole.pixels[start..start + line.len()].copy_from_slice(line);
                        }
                    }
                    _ => {
                        let is_nearest = change.options == egui::TextureOptions::NEAREST;
                        textures.insert(id, (ColorImage::clone(image), is_nearest));
                    }
                }
            }
        }
        delta.clear();
    }
}

/// Draws what a frame gave.
pub fn draw(
    ctx: &egui::Context,
    output: &egui::FullOutput,
    textures: &Textures,
    size: (f32, f32),
    scale: f32,
) -> ColorImage {
    let (width, height) = ((size.0 * scale) as usize, (size.1 * scale) as usize);
    let mut pixels = vec![[0.0f32, 0.0, 0.0]; width * height];
    let textures = textures.borrow();
    for clipped in ctx.tessellate(output.shapes.clone(), scale) {
        let Primitive::Mesh(mesh) = &clipped.primitive else {
            continue;
        };
        let Some((texture, is_nearest)) = textures.get(&mesh.texture_id) else {
            continue;
        };
        let clip = clipped.clip_rect;
        for triangle in mesh.indices.chunks_exact(3) {
            let [a, b, c] = [0, 1, 2].map(|i| mesh.vertices[triangle[i] as usize]);
            let at = |v: egui::epaint::Vertex| (v.pos.x * scale, v.pos.y * scale);
            let ((ax, ay), (bx, by), (cx, cy)) = (at(a), at(b), at(c));
            let area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
            if area == 0.0 {
                continue;
            }
            let bound = |low: f32, high: f32, from: f32, to: f32, most: usize| {
                let first = low.max(from * scale).floor().max(0.0) as usize;
                (
                    first,
                    (high.min(to * scale).ceil().max(0.0) as usize).min(most),
                )
            };
            let (x0, x1) = bound(
                ax.min(bx).min(cx),
                ax.max(bx).max(cx),
                clip.min.x,
                clip.max.x,
                width,
            );
            let (y0, y1) = bound(
                ay.min(by).min(cy),
                ay.max(by).max(cy),
                clip.min.y,
                clip.max.y,
                height,
            );
            for y in y0..y1 {
                for x in x0..x1 {
                    let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                    if px < clip.min.x * scale
                        || px > clip.max.x * scale
                        || py < clip.min.y * scale
                        || py > clip.max.y * scale
                    {
                        continue;
                    }
                    let w0 = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area;
                    let w1 = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area;
                    let w2 = 1.0 - w0 - w1;
                    if w0 < 0.0 || w1 < 0.0 || w2 < 0.0 {
                        continue;
                    }
                    let mixed =
                        |f: fn(&egui::epaint::Vertex) -> f32| w0 * f(&a) + w1 * f(&b) + w2 * f(&c);
                    let texel = sample(texture, *is_nearest, mixed(|v| v.uv.x), mixed(|v| v.uv.y));
                    let channel = [
                        mixed(|v| f32::from(v.color.r())),
                        mixed(|v| f32::from(v.color.g())),
                        mixed(|v| f32::from(v.color.b())),
                        mixed(|v| f32::from(v.color.a())),
                    ];
                    let alpha = channel[3] * texel[3] / 255.0;
                    let pixel = &mut pixels[y * width + x];
                    for i in 0..3 {
                        pixel[i] = channel[i] * texel[i] + pixel[i] * (1.0 - alpha);
                    }
                }
            }
        }
    }
    let byte = |x: f32| x.round().clamp(0.0, 255.0) as u8;
    let pixels = pixels
        .into_iter()
        .map(|[r, g, b]| Color32::from_rgb(byte(r), byte(g), byte(b)))
        .collect();
    ColorImage::new([width, height], pixels)
}

/// Bilinear or nearest, in 0..=1.
fn sample(texture: &ColorImage, is_nearest: bool, u: f32, v: f32) -> [f32; 4] {
    let [width, height] = texture.size;
    let (x, y) = (u * width as f32 - 0.5, v * height as f32 - 0.5);
    let (x, y) = if is_nearest {
        (x.round(), y.round())
    } else {
        (x, y)
    };
    let (fx, fy) = (x - x.floor(), y - y.floor());
    let texel = |dx: i64, dy: i64| {
        let x = (x.floor() as i64 + dx).clamp(0, width as i64 - 1) as usize;
        let y = (y.floor() as i64 + dy).clamp(0, height as i64 - 1) as usize;
        texture.pixels[y * width + x]
            .to_array()
            .map(|c| f32::from(c) / 255.0)
    };
    let (a, b, c, d) = (texel(0, 0), texel(1, 0), texel(0, 1), texel(1, 1));
    std::array::from_fn(|i| {
        (a[i] * (1.0 - fx) + b[i] * fx) * (1.0 - fy) + (c[i] * (1.0 - fx) + d[i] * fx) * fy
    })
}

/// Writes a picture.
pub fn write(image: &ColorImage, path: &std::path::Path) {
    let file = std::fs::File::create(path).unwrap();
    let [width, height] = image.size.map(|n| n as u32);
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let bytes: Vec<u8> = image
        .pixels
        .iter()
        .flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()])
        .collect();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&bytes)
        .unwrap();
}
