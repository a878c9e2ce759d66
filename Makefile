# Everything CI does, and nothing else: each target works from a fresh clone on Debian 12 or 13
# with rustup, as root or through sudo. What it needs it installs, says so, and asks nothing.
#
#     make check   formatting, lints, dependencies, generated files, man pages, scripts
#     make test    all tests, those on a booted systemd included
#     make interop real clients and servers through the gateway, compared with direct access
#     make browser Chromium through the gateway, over TLS and without
#     make fuzz    every fuzz target for FUZZ_SECONDS=60
#     make deb     the Debian package, into target/deb
#     make demo    the package on a booted host, under load, through every kind of change (ONLY=upgrade: one of them)
#     make soak    200 random transitions under load in one host, and what they leave behind (SOAK=50 SEED=1)
#     make floods  every known flood for 20 s against the release build, and how its other client fared (FOR=5: shorter)
#     make footprint  memory of idle connections, idle tunnels and large contents, with the release build
#     make bench   what a request costs hitless, nginx and haproxy, side by side (ONLY=tls FOR=3 ROUNDS=5: fewer, shorter)
#     make run     the gateway in this terminal, on 127.0.0.1:8080 in front of a sample application
#     make man     man pages, completions and example configuration, from the tables in the sources
#     make clean   removes target/; the bases of the test hosts stay in /var/cache/hitless-lab

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help check lint dependencies generated scripts test interop browser fuzz deb demo soak newer plan floods footprint bench run man clean rust lab

# rustup's folder, for a shell that has not read its profile yet, and a service that has no HOME.
export HOME := $(or $(HOME),$(shell getent passwd "$$(id -u)" | cut -d: -f6))
export PATH := $(PATH):$(HOME)/.cargo/bin
cargo := cargo --locked

help:
	@sed -n '/^#/!q; s/^#  *make/make/p' Makefile

rust:
	@packaging/rust
	@packaging/need gcc libc6-dev

check: lint dependencies generated scripts

lint: rust
	cargo fmt --all --check
	$(cargo) clippy --quiet --all-targets -- -D warnings

dependencies: rust
	packaging/dependencies

# What is generated from the sources and checked in must be what the sources say.
generated: rust
	@packaging/need mandoc zsh fish
	packaging/generate --check
	mandoc -T lint -W warning man/*
	bash -n packaging/completions/hitless.bash
	zsh -n packaging/completions/_hitless
	fish --no-execute packaging/completions/hitless.fish
	$(cargo) run --quiet -- check etc/hitless

scripts:
	@packaging/need shellcheck
	shellcheck $$(grep -l '^#!/bin/sh' packaging/* .ci/* 2>/dev/null) debian/hitless.postinst debian/hitless.postrm

# Suppressed rather than overridden: the first tag is raised for every unit without an init script
# by Debian 12's lintian and unknown to Debian 13's, which refuses to hear of it; the second takes
# machine code for words, and comes and goes with each build.
quiet_tags := package-supports-alternative-init-but-no-init.d-script spelling-error-in-binary
test: deb lab
	@packaging/need curl openssl python3
	known=$$(lintian-explain-tags --list-tags | grep -Fx $(quiet_tags:%=-e %) | paste -s -d ,) && \
	lintian --allow-root --display-experimental --display-info --pedantic \
	    $${known:+--suppress-tags "$$known"} \
	    --fail-on error,warning,info,pedantic,experimental target/deb/*.changes
	packaging/test

# What is not Debian's is installed into target/interop.
interop: rust
	packaging/interop

browser: rust
	packaging/interop --browser

fuzz: rust
	@packaging/need g++
	packaging/fuzz

deb: rust
	@packaging/need dpkg-dev debhelper bash-completion fakeroot lintian
	packaging/deb

lab:
	@packaging/need debootstrap systemd-container util-linux iproute2

demo: plan newer lab
	$(cargo) build --quiet --example sample --example broken
	packaging/as-root cargo run --locked --quiet --example demo -- $(if $(ONLY),--event $(ONLY))

soak: plan newer lab
	$(cargo) build --quiet --example sample --example broken
	packaging/as-root cargo run --locked --quiet --example demo -- --debian 13 --soak $(or $(SOAK),200) $(if $(SEED),--seed $(SEED))

# The same program again, as a newer version, for upgrades.
newer: deb
	packaging/deb +demo2

plan:
	@echo "make demo: builds the Debian package (some minutes the first time, then seconds), boots throw-away"
	@echo "hosts with Debian 12 and 13, installs it there, and changes everything under load. Needs root or sudo,"
	@echo "changes nothing on this machine but: Debian packages it says it installs, target/, /var/cache/hitless-lab."

floods: rust
	$(cargo) build --quiet --release
	$(cargo) run --quiet --example flood -- --for $(or $(FOR),20)

footprint: rust
	$(cargo) build --quiet --release
	$(cargo) run --quiet --example footprint

# nginx and haproxy run as processes of the bench, with configurations of its own. Fails only when something
# could not be measured.
bench: rust
	packaging/peers
	@packaging/need openssl strace nghttp2-client
	$(cargo) build --quiet --release --bin hitless --example bench
	target/release/examples/bench --for $(or $(FOR),3) --rounds $(or $(ROUNDS),5) $(if $(ONLY),--only $(ONLY))

run: rust
	packaging/run

man: rust
	packaging/generate

clean:
	rm -rf target
