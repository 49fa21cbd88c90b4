//! The adapter that draws the window.

use eframe::wgpu::{Adapter, DeviceType, Surface};

/// The first that can draw on `surface`: GPUs before processors, in the order in which they are found.
///
/// wgpu's own choice asks every adapter whether it can. The SwiftShader that Chromium brings knows no windows at all, and ends the process
/// where it is asked about one that another driver made. So it is asked last, when nothing else can draw.
pub fn choose(adapters: &[Adapter], surface: Option<&Surface<'_>>) -> Result<Adapter, String> {
    let mut sorted: Vec<&Adapter> = adapters.iter().collect();
    sorted.sort_by_key(|adapter| {
        let info = adapter.get_info();
        rank(info.device_type, &info.name)
    });
    let draws = |adapter: &Adapter| surface.is_none_or(|s| adapter.is_surface_supported(s));
    let found = sorted.into_iter().find(|adapter| draws(adapter));
    let missing = || format!("none of {} adapters can draw on it", adapters.len());
    found.cloned().ok_or_else(missing)
}

fn rank(device: DeviceType, name: &str) -> (u8, bool) {
    let kind = match device {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    };
    (kind, name.contains("SwiftShader"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_come_first_and_swiftshader_last() {
        let all = [
            (DeviceType::Cpu, "SwiftShader Device (Subzero)"),
            (DeviceType::Cpu, "llvmpipe (LLVM 15.0.6, 256 bits)"),
            (DeviceType::Other, "llvmpipe by way of OpenGL"),
            (DeviceType::IntegratedGpu, "a laptop's"),
            (DeviceType::DiscreteGpu, "a card"),
        ];
        let mut sorted = all;
        sorted.sort_by_key(|(device, name)| rank(*device, name));
        let reversed: Vec<_> = all.into_iter().rev().collect();
        assert_eq!(
            sorted.map(|(_, name)| name),
            reversed.iter().map(|(_, name)| *name).collect::<Vec<_>>()[..]
        );
    }
}
