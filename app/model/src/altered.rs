//! A copy of a model with other weights, in memory: what a dishonest prover runs, and what an experiment quantises.
use crate::{Dtype, Model, ModelError, Role, TensorRef};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Model {
    /// A copy whose weights went through `change`, stored as f32. `change` sees each tensor once, with the first role it has (a tied
    /// matrix is the embedding), its name and shape, and its decoded values, whose number it must not change. Config and tokenizer
    /// stay; the root becomes another one, even where no value did: a root binds the stored type.
    ///
    /// Memory: 4 bytes a weight.
    ///
    /// # Errors
    /// A tensor that cannot be read, or one that came back with another number of values.
    pub fn altered(
        &self,
        mut change: impl FnMut(Role, &TensorRef, &mut Vec<f32>),
    ) -> Result<Self, ModelError> {
        let mut bytes = Vec::new();
        let mut made: BTreeMap<String, TensorRef> = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (&role, tensor) in &self.tensors {
            if let Some(known) = made.get(&tensor.name) {
                tensors.insert(role, known.clone());
                continue;
            }
            let mut values = self.read_f32(tensor)?;
            let want = values.len();
            change(role, tensor, &mut values);
            if values.len() != want {
                return Err(ModelError::RangeOutside {
                    name: tensor.name.clone(),
                    begin: 0,
                    end: values.len() as u64,
                    most: want as u64,
                });
            }
            let new = TensorRef::single(
                tensor.name.clone(),
                Dtype::F32,
                tensor.shape.clone(),
                (0, bytes.len() as u64, 4 * want as u64),
            );
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            made.insert(tensor.name.clone(), new.clone());
            tensors.insert(role, new);
        }
        let config = self.config().clone();
        let mut copy = Self::new(config, Vec::new(), None, vec![Arc::new(bytes)], tensors)?;
        copy.tokenizer = self.tokenizer.clone();
        Ok(copy)
    }
}

#[cfg(all(test, feature = "demo"))]
mod tests {
    use super::*;

    #[test]
    fn values_change_and_nothing_else_does() {
        let model = Model::demo().unwrap();
        let same = model.altered(|_, _, _| {}).unwrap();
        assert_eq!(same.dtype(), "f32");
        assert_eq!(same.parameters(), model.parameters());
        for (a, b) in model.tensors().into_iter().zip(same.tensors()) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
            assert_eq!(model.read_f32(a).unwrap(), same.read_f32(b).unwrap());
        }
        assert!(same.tokenizer().is_some());
        let zero = model.altered(|role, _, v| {
            if role == Role::FinalNorm {
                v.fill(0.0);
            }
        });
        let zero = zero.unwrap();
        let norm = zero.tensor(Role::FinalNorm).unwrap();
        assert!(zero.read_f32(norm).unwrap().iter().all(|v| *v == 0.0));
        assert!(model.altered(|_, _, v| v.push(0.0)).is_err());
    }
}
