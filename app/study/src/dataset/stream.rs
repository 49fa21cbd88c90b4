//! The four matrices of a layer.

/// What a matrix holds. Rows are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Residual stream before the MLP's norm, `[N, hidden]`.
    MlpX,
    /// Activations of the MLP, `[N, intermediate]`: SiLU(gate) * up, or max(up, 0).
    MlpY,
    /// Residual stream before the attention's norm, `[N, hidden]`.
    AttX,
    /// L2 norm of each head's output before the output projection, `[N, heads]`.
    AttY,
}

impl Stream {
    /// All four.
    pub const ALL: [Self; 4] = [Self::MlpX, Self::MlpY, Self::AttX, Self::AttY];

    /// The first part of its file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlpX => "mlp_x",
            Self::MlpY => "mlp_y",
            Self::AttX => "att_x",
            Self::AttY => "att_y",
        }
    }

    /// The file of a layer's matrix, such as `mlp_x_3`.
    pub fn file(self, layer: u32) -> String {
        format!("{}_{layer}", self.name())
    }
}
