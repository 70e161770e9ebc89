//! ONNX sessions, model bundles and the engine process.
