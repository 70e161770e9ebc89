//! Operators that ONNX Runtime does not have (`graph/silu.rs` puts them into a detector).

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use ort::Error;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{PrimitiveTensorElementType, TensorElementType};

use crate::graph::silu;

/// All of them.
///
/// # Errors
/// Those of ONNX Runtime.
pub(super) fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(silu::DOMAIN)?.add(ByteTable)?.add(Silu)
}

/// The output is the input's buffer. ONNX Runtime asks for the weaker permission to work in place, but grants it only where
/// it can tell that both are of one size, which in a model that takes any size of picture it cannot. That nothing else
/// needs the input is seen to where the operators are put in.
const SAME_BUFFER: &[(u32, u32)] = &[(0, 0)];

/// [`silu::BYTE_TABLE`].
struct ByteTable;

impl Operator for ByteTable {
    type Kernel<'attr> = ByteTableKernel;

    const ALIASES: &[(u32, u32)] = SAME_BUFFER;

    fn name(&self) -> &str {
        silu::BYTE_TABLE
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Uint8)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Uint8)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let numbers: Vec<i64> = context.get(silu::TABLE).unwrap_or_default();
        let bytes: Result<Vec<u8>, _> = numbers.into_iter().map(u8::try_from).collect();
        let table = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        table
            .map(ByteTableKernel)
            .ok_or_else(|| Error::new("the table does not hold 256 bytes"))
    }
}

struct ByteTableKernel([u8; 256]);

impl Kernel for ByteTableKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        map(context, |bytes| look_up(&self.0, bytes))
    }
}

/// [`silu::SILU`].
struct Silu;

impl Operator for Silu {
    type Kernel<'attr> = SiluKernel;

    const ALIASES: &[(u32, u32)] = SAME_BUFFER;

    fn name(&self) -> &str {
        silu::SILU
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        Ok(SiluKernel)
    }
}

struct SiluKernel;

impl Kernel for SiluKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        map(context, silu)
    }
}

/// Applies `function` to the only input, whose place is the output's, too.
fn map<T: PrimitiveTensorElementType + Copy>(
    context: &ComputeContext,
    function: impl FnOnce(&mut [T]),
) -> ort::Result<()> {
    let missing = || Error::new("a tensor is missing");
    let input = context.input(0)?.ok_or_else(missing)?;
    // Nothing may look at the input while the output is written, which is the same memory.
    let (shape, place) = {
        let (shape, values) = input.try_extract_tensor::<T>()?;
        (shape.clone(), values.as_ptr())
    };
    let mut output = context.output(0, shape)?.ok_or_else(missing)?;
    let (_, mapped) = output.try_extract_tensor_mut::<T>()?;
    if mapped.as_ptr() != place {
        mapped.copy_from_slice(input.try_extract_tensor::<T>()?.1);
    }
    function(mapped);
    Ok(())
}

fn look_up(table: &[u8; 256], bytes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512bw") {
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        // SAFETY: this one has them.
        return unsafe { look_up_64(table, bytes) };
    }
    look_up_each(table, bytes);
}

fn look_up_each(table: &[u8; 256], bytes: &mut [u8]) {
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}

/// 64 bytes at once, which no compiler comes to by itself: a fifteenth of the time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_64(table: &[u8; 256], bytes: &mut [u8]) {
    use std::arch::x86_64::{__m512i, _mm512_mask_blend_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8};
    #[expect(unsafe_code, reason = "bytes as a vector")]
    // SAFETY: both are 64 bytes, for which every value is valid.
    let load = |bytes: [u8; 64]| unsafe { std::mem::transmute::<[u8; 64], __m512i>(bytes) };
    #[expect(unsafe_code, reason = "a vector as bytes")]
    // SAFETY: as above.
    let store = |vector: __m512i| unsafe { std::mem::transmute::<__m512i, [u8; 64]>(vector) };
    let (quarters, _) = table.as_chunks::<64>();
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|quarter| load(quarters[quarter]));
    let (vectors, rest) = bytes.as_chunks_mut::<64>();
    for bytes in vectors {
        let index = load(*bytes);
        let low = _mm512_permutex2var_epi8(first, index, second);
        let high = _mm512_permutex2var_epi8(third, index, fourth);
        *bytes = store(_mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high));
    }
    look_up_each(table, rest);
}

/// `x * sigmoid(x)`, to 2 units in the last place of the product's factors.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma+bmi1+bmi2"))]
fn silu(values: &mut [f32]) {
    let multiply_add = |a: f32, b: f32, c: f32| {
        // Without the instruction it would be a call.
        if target_cfg_f!(target_feature = "fma") {
            a.mul_add(b, c)
        } else {
            a * b + c
        }
    };
    for x in values {
        *x /= 1.0 + exp(-*x, multiply_add);
    }
}

/// Cephes' `expf` (S. L. Moshier), without branches so that it runs on vectors: 2^n times a polynomial in what is left.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "as published")]
fn exp(x: f32, multiply_add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    /// Added to a number of less than 22 bits it leaves the whole part in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_375, -2.121_944_40e-4];
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_150_0e-4,
        1.398_199_950_7e-3,
        8.333_451_907_3e-3,
        4.166_579_589_4e-2,
        1.666_666_545_9e-1,
        5.000_000_120_1e-1,
    ];
    // Beyond that neither 2^n nor the result has the form that is put together below.
    let x = x.clamp(-87.3, 88.0);
    let rounded = multiply_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let rest = multiply_add(n, -LN_2[1], multiply_add(n, -LN_2[0], x));
    let tail = POLYNOMIAL.iter().fold(0.0, |sum, &c| multiply_add(sum, rest, c));
    let power = multiply_add(tail * rest, rest, rest) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    power * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_is_x_times_its_sigmoid() {
        let inputs: Vec<f32> = (-200_000..=200_000)
            .map(|n| n as f32 / 1000.0)
            .chain([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, f32::MAX, f32::MIN])
            .collect();
        let mut outputs = inputs.clone();
        silu(&mut outputs);
        // What processors without fused multiplication do.
        let plain = inputs.iter().map(|&x| x / (1.0 + exp(-x, |a, b, c| a * b + c)));
        let both = inputs
            .iter()
            .chain(&inputs)
            .zip(outputs.iter().copied().chain(plain));
        for (&x, found) in both {
            let x = f64::from(x);
            let expected = x / (1.0 + (-x).exp());
            let tolerance = 4e-7 * expected.abs() + 1e-36;
            // e^88 is as much as is kept of what is beyond it.
            let tolerance = if x < -87.0 {
                tolerance + x.abs() * 1e-37
            } else {
                tolerance
            };
            assert!(
                (f64::from(found) - expected).abs() <= tolerance,
                "{x} {found} {expected}"
            );
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut values = [f32::NAN; 9];
        silu(&mut values);
        assert!(values.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn a_table_is_looked_up_for_every_byte() {
        let table = std::array::from_fn(|byte| (byte as u8).wrapping_mul(7).wrapping_add(3));
        let input: Vec<u8> = (0..1000_u32).map(|n| (n * 31) as u8).collect();
        for look_up in [look_up, look_up_each] {
            let mut bytes = input.clone();
            look_up(&table, &mut bytes);
            for (&byte, found) in input.iter().zip(bytes) {
                assert_eq!(found, byte.wrapping_mul(7).wrapping_add(3));
            }
        }
    }
}
