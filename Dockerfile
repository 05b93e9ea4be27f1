# docker build -t refract .                      computes on the CPU
# docker build -t refract:cuda --target cuda .   computes on NVIDIA GPUs (run with --gpus all)
#
# docs/docker.md says how to run it.

ARG NODE=20.20.2

# --- what is compiled, and the packages that it runs with
FROM node:${NODE}-bookworm-slim AS build
WORKDIR /refract
ENV NPM_CONFIG_OMIT=dev ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json prisma.config.ts ./
COPY prisma prisma
COPY migrations migrations
COPY scripts scripts
COPY tools tools
COPY src src
RUN npm run build \
  # the libraries of other systems, half of all that is installed
  && rm -rf node_modules/onnxruntime-node/bin/napi-v6/darwin node_modules/onnxruntime-node/bin/napi-v6/win32
COPY demo/models demo/models
COPY demo/saes demo/saes
COPY demo/datasets demo/datasets
COPY docs docs
COPY LICENSE README.md openapi.json schema.graphql ./

# --- the CUDA provider, which npm does not carry
FROM build AS cuda-build
RUN node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12

# --- on the GPU
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu22.04 AS cuda
ARG NODE
COPY --from=build /usr/local/bin/node /usr/local/bin/node
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node \
  && mkdir /data && chown node:node /data
WORKDIR /refract
COPY --from=cuda-build --chown=node:node /refract .
ENV NODE_ENV=production NPM_CONFIG_OMIT=dev DATA_DIR=/data HOST=0.0.0.0 PORT=8080 REFRACT_DEVICE=cuda \
  MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=134217728
USER 1000
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--max-semi-space-size=4", "scripts/refract.mjs"]
CMD ["serve"]

# --- on the CPU; the last one is what is built unless another is named
FROM node:${NODE}-bookworm-slim AS cpu
RUN mkdir /data && chown node:node /data
WORKDIR /refract
COPY --from=build --chown=node:node /refract .
ENV NODE_ENV=production NPM_CONFIG_OMIT=dev DATA_DIR=/data HOST=0.0.0.0 PORT=8080 \
  MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=134217728
USER 1000
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--max-semi-space-size=4", "scripts/refract.mjs"]
CMD ["serve"]
