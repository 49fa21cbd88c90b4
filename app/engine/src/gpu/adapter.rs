//! Adapters: what they are called, what they allow, and which kernel variants they get.
//!
//! [`Variants::choose`] is the one place where an adapter's facts turn into kernels.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tuned::Choice;
use crate::kernels::sparse;

/// No limit: the largest integer that JSON readers hold exactly.
pub(super) const UNLIMITED: u64 = (1 << 53) - 1;

/// The facts of one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// The driver's name for it.
    pub name: String,
    /// Vulkan, Metal, Dx12, Gl or BrowserWebGpu.
    pub backend: String,
    /// DiscreteGpu, IntegratedGpu, VirtualGpu, Cpu or Other.
    pub device_type: String,
    /// Driver name and version, as reported.
    pub driver: String,
    /// PCI vendor id, 0 where unknown.
    pub vendor: u32,
    /// True for software rasterisers (llvmpipe, SwiftShader, WARP): right, but slow.
    pub software: bool,
    /// Largest storage buffer binding, bytes.
    pub max_binding: u64,
    /// Largest buffer, bytes.
    pub max_buffer: u64,
    /// Storage buffers in one stage.
    pub max_storage_buffers: u32,
    /// Invocations in one workgroup.
    pub max_invocations: u32,
    /// Workgroup memory, bytes.
    pub max_workgroup_memory: u32,
    /// Workgroups in one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Loop iterations that one invocation may make in all before the driver silently stops it. Mesa's
    /// llvmpipe allows 65535 (`LP_MAX_TGSI_LOOP_ITERATIONS`); others are not known to have a limit.
    pub max_loop_iterations: u64,
    /// Width of a subgroup, where all have the same and the device lets kernels use it; 0 elsewhere, and in browsers.
    pub subgroup: u32,
    /// Features that variants use, or later ones will: shader-f16, subgroup, timestamp-query.
    pub features: Vec<String>,
    /// The kernel variants that this adapter gets.
    pub variants: Variants,
}

/// How matrix products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MatmulKernel {
    /// `matmul_tile`: registers only, `m` x `n` outputs an invocation.
    Tile {
        /// Rows of the tile.
        m: u8,
        /// Columns of the tile.
        n: u8,
    },
    /// `matmul_subgroup`: the same, rows shared out by subgroups of 8.
    Subgroup {
        /// Rows of the tile; with 1, products of one row only.
        m: u8,
        /// Columns of the tile.
        n: u8,
    },
    /// `matmul_subgroup` with weights from storage textures, where a matrix lies in such, and activations of many rows, which
    /// `rows_to_texels` puts there; by [`Subgroup`](Self::Subgroup) where not.
    Texels {
        /// Rows of the tile, 8; with 1, products of one row only.
        m: u8,
        /// Columns of the tile.
        n: u8,
    },
    /// `matmul_shared`: 64 x 64 tile in workgroup memory.
    Shared,
    /// The same with f16 weights kept as f16 there, half the bytes, under fast numerics; other types, and strict ones, as they are.
    SharedHalf,
    /// `matvec`: one row only, segments of k side by side.
    Vector,
}

impl MatmulKernel {
    /// What llvmpipe does fastest of many rows, with weights in buffers.
    pub const SUBGROUP: Self = Self::Subgroup { m: 8, n: 4 };
    /// The same of one row.
    pub const SUBGROUP_ROW: Self = Self::Subgroup { m: 1, n: 2 };
    /// What llvmpipe does fastest of many rows, from textures.
    pub const TEXELS: Self = Self::Texels { m: 8, n: 8 };
    /// The same of one row.
    pub const TEXELS_ROW: Self = Self::Texels { m: 1, n: 8 };

    /// Whether it makes products of one row only.
    pub fn is_for_one_row(self) -> bool {
        matches!(
            self,
            Self::Vector
                | Self::Tile { m: 1, .. }
                | Self::Subgroup { m: 1, .. }
                | Self::Texels { m: 1, .. }
        )
    }

    /// The kernel for a matrix that lies in buffers, or `in_texels`.
    #[must_use]
    pub fn reading(self, in_texels: bool) -> Self {
        match self {
            Self::Texels { m: 1, .. } if !in_texels => Self::SUBGROUP_ROW,
            Self::Texels { .. } if !in_texels => Self::SUBGROUP,
            _ => self,
        }
    }

    /// The kernel for many rows of so few `columns`: a subgroup makes 8 times its tile's columns, and those beyond the last are made for
    /// nothing. From buffers narrow tiles take up to twice as long for a column, so they are worth it for 16 and fewer only.
    #[must_use]
    pub fn for_columns(self, columns: usize) -> Self {
        match (self, columns) {
            (Self::Subgroup { m: 2.., .. }, 17..) => self,
            (Self::Subgroup { m: m @ 2.., .. }, 9..) => Self::Subgroup { m, n: 2 },
            (Self::Subgroup { m: m @ 2.., .. }, _) => Self::Subgroup { m, n: 1 },
            (Self::Texels { m: m @ 2.., n }, _) => {
                let enough = columns.div_ceil(8).next_power_of_two();
                let n = u8::try_from(enough).map_or(n, |enough| n.min(enough));
                Self::Texels { m, n }
            }
            _ => self,
        }
    }

    /// Whether it reads textures.
    pub fn is_texels(self) -> bool {
        matches!(self, Self::Texels { .. })
    }

    /// Whether activations are in textures, too. Of one row they are not: a small model's products take no longer than putting them there.
    pub fn takes_texels(self) -> bool {
        matches!(self, Self::Texels { m: 2.., .. })
    }
}

impl fmt::Display for MatmulKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile { m, n } => write!(f, "matmul_tile {m} x {n}"),
            Self::Subgroup { m, n } => write!(f, "matmul_subgroup {m} x {n}"),
            Self::Texels { m, n } => write!(f, "matmul_subgroup {m} x {n}, texels"),
            Self::Shared => f.write_str("matmul_shared"),
            Self::SharedHalf => f.write_str("matmul_shared, f16 as f16"),
            Self::Vector => f.write_str("matvec"),
        }
    }
}

/// Which products share a dispatch with others of the same input. Where a model's matrices cannot lie together, none do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// Queries, keys and values are one product.
    pub qkv: bool,
    /// Gate, up and their activation are one kernel.
    pub gated: bool,
}

impl fmt::Display for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.qkv, self.gated) {
            (true, true) => "qkv, gate-up-silu",
            (true, false) => "qkv",
            (false, true) => "gate-up-silu",
            (false, false) => "nothing",
        })
    }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKernel {
    /// `attention_row`: one invocation a query and head.
    Row,
    /// `attention_subgroup`: eight lanes of queries that share keys, keys and values from textures; `attention_row` where a head is no whole
    /// number of eight columns.
    Subgroup,
    /// `attention_group`: one workgroup a query and head.
    Group,
}

impl AttentionKernel {
    /// Whether it reads keys and values from textures.
    pub fn is_texels(self) -> bool {
        self == Self::Subgroup
    }
}

impl fmt::Display for AttentionKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Row => "attention_row",
            Self::Subgroup => "attention_subgroup",
            Self::Group => "attention_group",
        })
    }
}

/// The kernels that an adapter gets. All variants of a kernel share one canonical order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Variants {
    /// Products with more than one row.
    pub matmul: MatmulKernel,
    /// Products with one row: the decode step.
    pub single: MatmulKernel,
    /// What shares a dispatch, with more than one row.
    pub fused: Fused,
    /// The same with one row.
    pub fused_single: Fused,
    /// Whether residuals are added by the norms behind them (`add_rmsnorm`), not by the products before. On llvmpipe products of 8 rows and
    /// more take 8 % longer if they add a residual, and a kernel less is compiled; on SwiftShader it is the same; no GPU was measured.
    pub sums_in_norm: bool,
    /// Attention.
    pub attention: AttentionKernel,
    /// How sparse products are laid out.
    pub sparse: sparse::Path,
    /// Tokens in one prefill chunk.
    pub chunk: usize,
    /// Multiply-adds a second to start from: a submit's length in time is learned from there.
    pub first_rate: f64,
}

impl Variants {
    /// Chooses from the facts. Software adapters have no workgroup memory worth the name: what GPUs keep
    /// on chip is ordinary memory there, so they take register tiles (twice as fast, measured). Where subgroups are 8 wide
    /// (llvmpipe), rows of those are shared out: loads are what costs there.
    ///
    /// What was measured here (`tuned`) goes before what is known of such adapters.
    pub fn choose(software: bool, subgroup: u32, tuned: Option<&Choice>) -> Self {
        let known = Self::known(software, subgroup);
        let Some(tuned) = tuned else { return known };
        Self {
            matmul: tuned.matmul,
            single: tuned.single,
            fused: tuned.fused,
            fused_single: tuned.fused_single,
            attention: tuned.attention,
            first_rate: tuned.rate as f64,
            ..known
        }
    }

    /// Whether products read weights from textures. A matrix lies in memory once, so those of many rows and of one must agree.
    pub fn reads_texels(&self) -> bool {
        self.matmul.is_texels() && self.single.is_texels()
    }

    fn known(software: bool, subgroup: u32) -> Self {
        let fused = Fused {
            qkv: true,
            // On llvmpipe, on a quiet machine (`assay tune`, 2026-11-27), gate, up and SiLU in one dispatch take 4 to 7 % longer with 8 rows
            // and more, and as long with one; queries, keys and values 1 to 4 % less, and a sixth less with one.
            gated: !(software && subgroup == 8),
        };
        if software {
            Self {
                matmul: match subgroup {
                    8 => MatmulKernel::TEXELS,
                    _ => MatmulKernel::Tile { m: 8, n: 8 },
                },
                // Four times `matvec`'s speed on llvmpipe: lanes are columns, and no sum is shared.
                single: match subgroup {
                    8 => MatmulKernel::TEXELS_ROW,
                    _ => MatmulKernel::Tile { m: 1, n: 8 },
                },
                fused,
                fused_single: fused,
                sums_in_norm: true,
                attention: match subgroup {
                    8 => AttentionKernel::Subgroup,
                    _ => AttentionKernel::Row,
                },
                sparse: sparse::Path::Registers,
                chunk: 128,
                first_rate: 5e9,
            }
        } else {
            Self {
                matmul: MatmulKernel::Shared,
                single: MatmulKernel::Vector,
                fused,
                fused_single: fused,
                sums_in_norm: false,
                attention: AttentionKernel::Group,
                sparse: sparse::Path::Lanes,
                chunk: 512,
                // Low, as each submit at most doubles it: one that a slow GPU takes seconds for ends in its watchdog.
                first_rate: 5e9,
            }
        }
    }
}

impl AdapterInfo {
    /// Reads the facts of `adapter`.
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let software = info.device_type == wgpu::DeviceType::Cpu || is_software(&info.name);
        let have = adapter.features();
        let features = [
            (wgpu::Features::SHADER_F16, "shader-f16"),
            (wgpu::Features::SUBGROUP, "subgroup"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
        ];
        let name = info.name.clone();
        let usable = have.contains(wgpu::Features::SUBGROUP)
            && info.subgroup_min_size == info.subgroup_max_size
            && !cfg!(target_arch = "wasm32");
        let subgroup = if usable { info.subgroup_min_size } else { 0 };
        Self {
            name: info.name,
            backend: format!("{:?}", info.backend),
            device_type: format!("{:?}", info.device_type),
            driver: [info.driver, info.driver_info]
                .iter()
                .filter(|s| !s.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            vendor: info.vendor,
            software,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_loop_iterations: loop_limit(&name),
            features: features
                .iter()
                .filter(|(f, _)| have.contains(*f))
                .map(|(_, n)| (*n).to_owned())
                .collect(),
            subgroup,
            variants: Variants::choose(software, subgroup, None),
        }
    }

    /// Takes the kernels that were measured best here; false, and nothing changes, if this adapter cannot run them.
    pub fn tune(&mut self, choice: &Choice) -> bool {
        let can = choice.is_possible(self);
        if can {
            self.variants = Variants::choose(self.software, self.subgroup, Some(choice));
        }
        can
    }

    /// Whether kernels may compute with f16, for which a device must be opened. Not in browsers: nothing is measured there.
    pub fn has_f16(&self) -> bool {
        self.features.iter().any(|name| name == "shader-f16") && !cfg!(target_arch = "wasm32")
    }

    /// Gives it a name, and what follows from that.
    pub(crate) fn rename(&mut self, name: String) {
        self.software |= is_software(&name);
        self.max_loop_iterations = loop_limit(&name);
        self.variants = Variants::choose(self.software, self.subgroup, None);
        self.name = name;
    }

    /// Facts of the CPU twins, which stand in where there is no adapter.
    pub fn cpu() -> Self {
        Self {
            name: "cpu".to_owned(),
            backend: "Cpu".to_owned(),
            device_type: "Cpu".to_owned(),
            driver: "assay's CPU twins".to_owned(),
            vendor: 0,
            software: true,
            max_binding: UNLIMITED,
            max_buffer: UNLIMITED,
            max_storage_buffers: u32::MAX,
            max_invocations: 1,
            max_workgroup_memory: 0,
            max_workgroups: u32::MAX,
            max_loop_iterations: UNLIMITED,
            subgroup: 0,
            features: Vec::new(),
            variants: Variants::choose(true, 0, None),
        }
    }

    /// Order of preference among adapters, lower first: real GPUs, then software; Vulkan, Metal and
    /// DX12 before OpenGL; of software the one whose subgroups are shared out (llvmpipe), which is some ten times as fast as SwiftShader.
    pub(crate) fn rank(&self) -> (u8, u8, u8) {
        let kind = match self.device_type.as_str() {
            _ if self.software => 4,
            "DiscreteGpu" => 0,
            "IntegratedGpu" => 1,
            "VirtualGpu" => 2,
            _ => 3,
        };
        let is_slow = self.software && self.subgroup != 8;
        (kind, u8::from(self.backend == "Gl"), u8::from(is_slow))
    }
}

fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "swiftshader", "lavapipe", "basic render"]
        .iter()
        .any(|known| name.contains(known))
}

fn loop_limit(name: &str) -> u64 {
    if name.contains("llvmpipe") || name.contains("lavapipe") {
        65_535
    } else {
        UNLIMITED
    }
}

/// Every adapter that wgpu finds, best first. A name may appear once for each backend.
pub async fn list_adapters() -> Vec<AdapterInfo> {
    list(None).await
}

/// The same; one that gives no name is called `fallback`.
pub(super) async fn list(fallback: Option<&str>) -> Vec<AdapterInfo> {
    found(wgpu::Backends::all(), fallback)
        .await
        .into_iter()
        .map(|(_, info)| info)
        .collect()
}

pub(crate) async fn found(
    backends: wgpu::Backends,
    fallback: Option<&str>,
) -> Vec<(wgpu::Adapter, AdapterInfo)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    // A browser shows one adapter, and which one depends on what is asked for.
    #[cfg(target_arch = "wasm32")]
    let adapters: Vec<wgpu::Adapter> = instance
        .request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        })
        .await
        .into_iter()
        .collect();
    #[cfg(not(target_arch = "wasm32"))]
    let adapters = instance.enumerate_adapters(backends).await;
    let mut all: Vec<_> = adapters
        .into_iter()
        .map(|adapter| {
            let mut info = AdapterInfo::of(&adapter);
            if let Some(name) = fallback.filter(|_| info.name.is_empty()) {
                info.rename(name.to_owned());
            }
            (adapter, info)
        })
        .collect();
    if all.len() > 1 && !cfg!(target_arch = "wasm32") {
        all.sort_by_key(|(_, info)| info.rank());
    }
    all
}
