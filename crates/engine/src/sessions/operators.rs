//! Operators that ONNX Runtime does not have (`graph/silu.rs` puts them into a detector).

use multiversion::multiversion;
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

/// [`silu::BYTE_TABLE`].
struct ByteTable;

impl Operator for ByteTable {
    type Kernel<'attr> = ByteTableKernel;

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
        map(context, |input: &[u8], output| look_up(&self.0, input, output))
    }
}

/// [`silu::SILU`].
struct Silu;

impl Operator for Silu {
    type Kernel<'attr> = SiluKernel;

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

/// Applies `function` to the only input; the output has its shape.
fn map<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    function: impl FnOnce(&[T], &mut [T]),
) -> ort::Result<()> {
    let missing = || Error::new("a tensor is missing");
    let input = context.input(0)?.ok_or_else(missing)?;
    let (shape, values) = input.try_extract_tensor::<T>()?;
    let mut output = context.output(0, shape.clone())?.ok_or_else(missing)?;
    let (_, mapped) = output.try_extract_tensor_mut::<T>()?;
    function(values, mapped);
    Ok(())
}

fn look_up(table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    for (out, &byte) in output.iter_mut().zip(input) {
        *out = table[usize::from(byte)];
    }
}

/// `x * sigmoid(x)`, to 2 units in the last place of the product's factors.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma+bmi1+bmi2"))]
fn silu(input: &[f32], output: &mut [f32]) {
    for (out, &x) in output.iter_mut().zip(input) {
        *out = x / (1.0 + exp(-x));
    }
}

/// Cephes' `expf` (S. L. Moshier), without branches so that it runs on vectors: 2^n times a polynomial in what is left.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "as published")]
fn exp(x: f32) -> f32 {
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
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let rest = x - n * LN_2[0] - n * LN_2[1];
    let tail = POLYNOMIAL.iter().fold(0.0, |sum, &c| sum * rest + c);
    let power = tail * rest * rest + rest + 1.0;
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
        let mut outputs = vec![0.0; inputs.len()];
        silu(&inputs, &mut outputs);
        for (&x, &found) in inputs.iter().zip(&outputs) {
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
        let mut output = [0.0; 2];
        silu(&[f32::NAN, f32::NEG_INFINITY], &mut output);
        assert!(output[0].is_nan());
    }

    #[test]
    fn a_table_is_looked_up_for_every_byte() {
        let table: [u8; 256] = std::array::from_fn(|byte| (byte as u8).wrapping_mul(7).wrapping_add(3));
        let input: Vec<u8> = (0..1000_u32).map(|n| (n * 31) as u8).collect();
        let mut output = vec![0; input.len()];
        look_up(&table, &input, &mut output);
        for (&byte, &found) in input.iter().zip(&output) {
            assert_eq!(found, byte.wrapping_mul(7).wrapping_add(3));
        }
    }
}
