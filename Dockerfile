# A static binary in an empty image: no shell, no libraries, nobody to become.
# Alpine's Rust targets musl and links statically by itself; libz-ng is vendored, rustls brings ring (C and assembly).
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base perl ca-certificates
WORKDIR /src
COPY . .
ARG TOLLGATE_COMMIT=unknown
ENV TOLLGATE_COMMIT=${TOLLGATE_COMMIT}
RUN cargo build --locked --profile dist --bin tollgate \
 && install -D target/dist/tollgate /out/usr/local/bin/tollgate \
 && install -D /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
 && install -d -o 65532 -g 65532 /out/var/lib/tollgate /out/srv/images /out/etc/tollgate

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
WORKDIR /var/lib/tollgate
VOLUME /var/lib/tollgate
ENV TOLLGATE_DATA__DIR=/var/lib/tollgate \
    TOLLGATE_SERVER__LISTEN=0.0.0.0:8080 \
    TOLLGATE_SERVER__ADMIN=0.0.0.0:8081 \
    TOLLGATE_LOG__FORMAT=json
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/tollgate"]
CMD ["serve"]
