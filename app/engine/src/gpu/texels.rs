//! Weights, activations, keys and values as storage textures, four words a texel, and what a binding can be given.
//!
//! llvmpipe makes a load from a storage buffer of scalar loads, one for each lane and word, each behind tests of mask and bound; one
//! from a storage texture is a vector load a lane, without a branch.

use super::Gpu;
use crate::EngineError;

/// Bytes of a texel: four words.
pub const TEXEL_BYTES: usize = 16;

/// A matrix whose rows are rows of texels. A clone is the same texture.
#[derive(Debug, Clone)]
pub struct Texels {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    /// Texels of a row that weights lie in.
    width: u32,
}

impl Texels {
    /// What a bind group takes.
    pub fn view(&self) -> &wgpu::TextureView {
        &self.view
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.width as usize * TEXEL_BYTES
    }
}

/// The side of a texture for so many rows, or texels of a row: one more if that is a power of two.
///
/// llvmpipe compiles a kernel anew for each answer to whether the sides of what is bound to it are powers of two, though nothing here
/// depends on it: the self-test's small matrices and a model's would not share what was compiled. And rows that are a power of two
/// bytes apart all fall into a few sets of a processor's cache: products are a tenth to a fourth faster without.
fn side(count: usize) -> usize {
    count + usize::from(count.is_power_of_two())
}

/// Where weights, or keys and values, lie. A clone is the same memory.
#[derive(Debug, Clone)]
pub enum Memory {
    /// A storage buffer.
    Buffer(wgpu::Buffer),
    /// A storage texture.
    Texels(Texels),
}

impl Memory {
    /// What a bind group takes.
    pub fn bound(&self) -> Bound<'_> {
        match self {
            Self::Buffer(buffer) => buffer.into(),
            Self::Texels(texels) => texels.into(),
        }
    }

    /// Whether it is a texture.
    pub fn is_texels(&self) -> bool {
        matches!(self, Self::Texels(_))
    }
}

/// What a kernel's binding is given.
#[derive(Debug, Clone, Copy)]
pub enum Bound<'a> {
    /// A storage buffer, whole.
    Buffer(&'a wgpu::Buffer),
    /// A storage texture.
    Texels(&'a Texels),
}

impl<'a> From<&'a wgpu::Buffer> for Bound<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self::Buffer(buffer)
    }
}

impl<'a> From<&'a Texels> for Bound<'a> {
    fn from(texels: &'a Texels) -> Self {
        Self::Texels(texels)
    }
}

impl<'a> From<Bound<'a>> for wgpu::BindingResource<'a> {
    fn from(bound: Bound<'a>) -> Self {
        match bound {
            Bound::Buffer(buffer) => buffer.as_entire_binding(),
            Bound::Texels(texels) => wgpu::BindingResource::TextureView(&texels.view),
        }
    }
}

fn extent(width: u32, height: u32) -> wgpu::Extent3d {
    wgpu::Extent3d {
        width,
        height,
        depth_or_array_layers: 1,
    }
}

/// Rows of so many bytes, one after another.
fn layout(row_bytes: u32) -> wgpu::TexelCopyBufferLayout {
    wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(row_bytes),
        rows_per_image: None,
    }
}

impl Gpu {
    /// Most rows, and most texels of a row, of one texture on this device: one less than a side can be, so that each has one to spare.
    pub fn most_texels(&self) -> usize {
        self.device.limits().max_texture_dimension_2d as usize - 1
    }

    /// Whether `rows` rows of `row_bytes` bytes can be one texture on this device.
    pub fn fits_texels(&self, rows: usize, row_bytes: usize) -> bool {
        let most = self.most_texels();
        let width = row_bytes / TEXEL_BYTES;
        let whole = row_bytes.is_multiple_of(TEXEL_BYTES);
        whole && (1..=most).contains(&width) && (1..=most).contains(&rows)
    }

    /// A texture for `rows` rows of `row_bytes` bytes, or an error that names it.
    pub async fn texels(
        &self,
        what: &str,
        rows: usize,
        row_bytes: usize,
    ) -> Result<Texels, EngineError> {
        use wgpu::TextureUsages as U;
        if !self.fits_texels(rows, row_bytes) {
            return Err(EngineError::LimitTooSmall {
                what: format!("{what} ({rows} rows of {row_bytes} bytes as texels)"),
                need: rows.max(row_bytes.div_ceil(TEXEL_BYTES)) as u64,
                have: self.most_texels() as u64,
            });
        }
        let width = row_bytes / TEXEL_BYTES;
        let size = extent(side(width) as u32, side(rows) as u32);
        let descriptor = wgpu::TextureDescriptor {
            label: Some(what),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Uint,
            usage: U::STORAGE_BINDING | U::COPY_DST | U::COPY_SRC,
            view_formats: &[],
        };
        let bytes = u64::from(size.width) * u64::from(size.height) * TEXEL_BYTES as u64;
        let make = || self.device.create_texture(&descriptor);
        let texture = self.allocated(what, bytes, make).await?;
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Ok(Texels {
            texture,
            view,
            width: width as u32,
        })
    }

    /// Queues whole rows for a texture, from row `first` on.
    pub fn write_texels(&self, texels: &Texels, first: usize, data: &[u8]) {
        let row_bytes = texels.row_bytes();
        let rows = data.len() / row_bytes;
        self.queue.write_texture(
            wgpu::TexelCopyTextureInfo {
                texture: &texels.texture,
                mip_level: 0,
                origin: wgpu::Origin3d {
                    x: 0,
                    y: first as u32,
                    z: 0,
                },
                aspect: wgpu::TextureAspect::All,
            },
            data,
            layout(row_bytes as u32),
            extent(texels.width, rows as u32),
        );
    }

    /// Encodes a copy of the first `rows` rows, and gives the buffer with it: each row begins at a multiple of
    /// `wgpu::COPY_BYTES_PER_ROW_ALIGNMENT`.
    pub async fn copy_of_texels(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        texels: &Texels,
        rows: usize,
    ) -> Result<wgpu::Buffer, EngineError> {
        let alignment = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize;
        let row_bytes = texels.row_bytes().next_multiple_of(alignment);
        let copy = self
            .storage("texels, copied", (rows * row_bytes) as u64)
            .await?;
        encoder.copy_texture_to_buffer(
            texels.texture.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: &copy,
                layout: layout(row_bytes as u32),
            },
            extent(texels.width, rows as u32),
        );
        Ok(copy)
    }

    /// Encodes a copy of the first `rows` rows of `row_bytes` bytes of a buffer, a multiple of 256, to the first of a texture.
    pub(crate) fn copy_to_texels(
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        to: &Texels,
        rows: u32,
        row_bytes: u32,
    ) {
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo {
                buffer: from,
                layout: layout(row_bytes),
            },
            to.texture.as_image_copy(),
            extent(row_bytes / TEXEL_BYTES as u32, rows),
        );
    }

    /// A texture with `data`, whole rows of `row_bytes` bytes, in it.
    pub async fn texels_with(
        &self,
        what: &str,
        row_bytes: usize,
        data: &[u8],
    ) -> Result<Texels, EngineError> {
        let texels = self
            .texels(what, data.len() / row_bytes.max(1), row_bytes)
            .await?;
        self.write_texels(&texels, 0, data);
        Ok(texels)
    }
}

#[cfg(test)]
mod tests {
    use super::side;

    #[test]
    fn a_side_is_no_power_of_two() {
        let sides = [1, 3, 64, 4096, 16_383].map(side);
        assert_eq!(sides, [2, 3, 65, 4097, 16_383]);
    }
}
