# Two stages: Debian builds the program; the image holds the program, the libraries it names, the shipped models, and no shell.
#
#   docker build -t rnnd .
#   docker run -p 8080:8080 rnnd                                                    the shipped models
#   docker run -p 8080:8080 -v "$PWD/mine:/models:ro" -e RNND_MODELS=/models rnnd   only your own
#   docker run -p 8080:8080 -v "$PWD/one:/usr/share/rnnd/models/one:ro" rnnd        one of yours beside the shipped ones
#   docker run -p 8080:8080 -v rnnd:/var/lib/rnnd rnnd                              sessions outlive the container
#
# Every option is an environment variable, RNND_ and its name in capitals.  Only the volume of sessions is written: --read-only
# works.  Where a read-only root comes without that volume (Kubernetes makes none), mount one or set RNND_STATE_DIR to nothing.
#
# rnnd-import is left out: it reads files that nobody vouches for, with libraries as large as the rest of the image, and is
# needed once for each checkpoint.  Run it where the checkpoint lies, and mount the folder that it makes.
FROM debian:bookworm-slim AS build

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      gcc libc6-dev meson ninja-build pkg-config \
      libmicrohttpd-dev libwslay-dev libuv1-dev libcjson-dev libinih-dev libgnutls28-dev libsqlite3-dev libxxhash-dev \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY . .
RUN meson setup /build --prefix /usr --buildtype release -Dtests=false -Dimport=disabled \
 && DESTDIR=/installed meson install -C /build --strip --quiet

# The image's tree.  ldd names the loader and every library, also those of libraries; they keep their paths.
RUN mkdir -p /image/usr/bin /image/usr/share /image/etc /image/models \
 && cp /installed/usr/bin/rnnd /image/usr/bin/ \
 && cp -r /installed/usr/share/rnnd /image/usr/share/ \
 && ldd /image/usr/bin/rnnd | grep -o '/[^ ]*' | sort -u | xargs cp --parents -L -t /image \
 && echo 'rnnd:x:10001:10001:rnnd:/:/nonexistent' >/image/etc/passwd \
 && echo 'rnnd:x:10001:' >/image/etc/group \
 && mkdir -p /image/var/lib /state/rnnd && chmod 0700 /state/rnnd

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=10001:10001 /state/ /var/lib/
LABEL org.opencontainers.image.title="rnnd" \
      org.opencontainers.image.description="Serves recurrent networks over HTTP; the hidden state is a session" \
      org.opencontainers.image.licenses="Apache-2.0"
# grace_s: `docker stop` sends SIGKILL after ten seconds; running requests are ended before that
ENV RNND_LISTEN=0.0.0.0:8080 \
    RNND_MODELS=/usr/share/rnnd/models \
    RNND_STATE_DIR=/var/lib/rnnd \
    RNND_GRACE_S=8
VOLUME /var/lib/rnnd
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/bin/rnnd", "health"]
ENTRYPOINT ["/usr/bin/rnnd"]
CMD ["serve"]
