// Computes the outputs of Keras models in TensorFlow.js, for make_keras.py.
//
//     NODE_PATH=.../node_modules node make_keras.js jobs.json > outputs.json      (npm's @tensorflow/tfjs 4.22)
//
// jobs.json: {NAME: {"layers": [{"class", "config" (camel case), "weights": [{"shape", "values"}]}], "input": {"shape",
// "values"}}}; a wrapper's config has "layer" or a cell's class in "cell".
"use strict";
console.warn = () => {};
const tf = require("@tensorflow/tfjs");
const fs = require("fs");

const makers = {
  Embedding: tf.layers.embedding, LSTM: tf.layers.lstm, GRU: tf.layers.gru, SimpleRNN: tf.layers.simpleRNN,
  Dense: tf.layers.dense, Dropout: tf.layers.dropout, Activation: tf.layers.activation, LeakyReLU: tf.layers.leakyReLU,
  ELU: tf.layers.elu, ReLU: tf.layers.reLU, ThresholdedReLU: tf.layers.thresholdedReLU,
  BatchNormalization: tf.layers.batchNormalization, LayerNormalization: tf.layers.layerNormalization,
  GlobalAveragePooling1D: tf.layers.globalAveragePooling1d, GlobalMaxPooling1D: tf.layers.globalMaxPooling1d,
  Flatten: tf.layers.flatten, Masking: tf.layers.masking, Bidirectional: tf.layers.bidirectional,
  TimeDistributed: tf.layers.timeDistributed, RepeatVector: tf.layers.repeatVector,
};

function make(spec) {
  const config = { ...spec.config };
  if (config.layer) config.layer = make(config.layer);
  return makers[spec.class](config);
}

async function main() {
  await tf.setBackend("cpu");
  const jobs = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  const outputs = {};
  for (const [name, job] of Object.entries(jobs)) {
    const model = tf.sequential();
    job.layers.forEach((spec, i) => {
      const layer = { ...spec, config: { ...spec.config } };
      if (i === 0) layer.config.batchInputShape = [null, ...job.input.shape.slice(1)];
      model.add(make(layer));
    });
    job.layers.forEach((spec, i) => {
      const weights = (spec.weights || []).map((w) => tf.tensor(w.values, w.shape));
      if (weights.length) model.layers[i].setWeights(weights);
    });
    const result = model.predict(tf.tensor(job.input.values, job.input.shape));
    outputs[name] = { shape: result.shape, values: Array.from(result.dataSync()) };
  }
  process.stdout.write(JSON.stringify(outputs));
}

main();
