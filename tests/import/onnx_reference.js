// Runs ONNX files with ONNX Runtime (npm: onnxruntime-node) for make_onnx.py.
//
//     node onnx_reference.js < jobs.json > outputs.json
//
// jobs: [{"file", "inputs": {name: {"type", "dims", "data"}}}]; outputs: [{name: {"dims", "data"}} or {"error"}].
const fs = require("fs");
const ort = require(process.env.ONNXRUNTIME_NODE || "onnxruntime-node");

async function run(job) {
  try {
    const session = await ort.InferenceSession.create(job.file, { logSeverityLevel: 4, intraOpNumThreads: 1 });
    const feeds = {};
    for (const [name, t] of Object.entries(job.inputs)) {
      const data = t.type === "int64" ? BigInt64Array.from(t.data.map(BigInt))
        : t.type === "int32" ? Int32Array.from(t.data) : Float32Array.from(t.data);
      feeds[name] = new ort.Tensor(t.type, data, t.dims);
    }
    const found = await session.run(feeds);
    return Object.fromEntries(Object.entries(found).map(([k, v]) => [k, { dims: v.dims, data: Array.from(v.data, Number) }]));
  } catch (e) {
    return { error: String(e.message || e) };
  }
}

(async () => {
  const out = [];
  for (const job of JSON.parse(fs.readFileSync(0, "utf8"))) out.push(await run(job));
  process.stdout.write(JSON.stringify(out));
})();
