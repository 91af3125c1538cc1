// Runs a model directory in transformers.js, or its model file in ONNX Runtime's WebAssembly build.
//   PTQ_NODE_FOLDER=FOLDER_WITH_NODE_MODULES node transformers_js.mjs COMMAND DIRECTORY [JSON]
// Prints one line of JSON. DIRECTORY is all that `generate` and `features` are told, unless the
// JSON has `options` for the pipeline.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.PTQ_NODE_FOLDER, 'package.json'));
const [command, directory, json = '{}'] = process.argv.slice(2);
const request = JSON.parse(json);

function open(task) {
  const { env, pipeline } = require('@huggingface/transformers');
  env.allowRemoteModels = false;
  return pipeline(task, directory, request.options ?? {});
}

const commands = {
  async generate() {
    const pipe = await open('text-generation');
    const options = { max_new_tokens: request.tokens, do_sample: false };
    const inputs = pipe.tokenizer(request.prompt);
    const ids = await pipe.model.generate({ ...inputs, ...options });
    const [{ generated_text: text }] = await pipe(request.prompt, options);
    const dtype = pipe.model.sessions.model.config.dtype;
    return { ids: ids.tolist()[0].map(Number), text, dtype };
  },

  async features() {
    const pipe = await open('feature-extraction');
    const pooled = await pipe(request.texts, { pooling: 'mean', normalize: true });
    const ids = request.texts.map((text) => pipe.tokenizer(text).input_ids.tolist()[0].map(Number));
    return { vectors: pooled.tolist(), ids };
  },

  // As the browser does it: no file system, model and data file as bytes.
  async web() {
    const ort = require('onnxruntime-web');
    ort.env.wasm.numThreads = 1;
    const read = (name) => new Uint8Array(readFileSync(path.join(directory, name)));
    const externalData = request.data.map((name) => {
      return { path: path.basename(name), data: read(name) };
    });
    const session = await ort.InferenceSession.create(read(request.model), {
      executionProviders: ['wasm'],
      externalData,
    });
    const feeds = {};
    for (const { name, shape, values } of request.feeds) {
      feeds[name] = values
        ? new ort.Tensor('int64', BigInt64Array.from(values.map(BigInt)), shape)
        : new ort.Tensor('float32', new Float32Array(0), shape); // an empty cache
    }
    const { [request.output]: result } = await session.run(feeds);
    return { shape: result.dims, values: Array.from(result.data) };
  },
};

console.log(JSON.stringify(await commands[command]()));
