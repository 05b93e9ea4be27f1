import type { DType } from '../tensor.js'

/** Our dtypes by ONNX's numbers. @see TensorProto.DataType in onnx.proto */
export const onnxDtype: Readonly<Record<DType, number>> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float64: 11 }
