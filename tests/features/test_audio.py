"""Recordings are read to the right mono samples, resampled without aliasing, or refused in one clear line."""

import math
import os
import re
import struct

import numpy as np
import pytest
import soundfile

from features import (
    AudioError,
    FeatureSettings,
    audio_sample_rate,
    check_samples,
    read_audio,
    read_audio_blocks,
    resample,
)

PCM16 = np.array([-32768, -12345, -1, 0, 1, 16384, 32767], np.int16)
NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 4 * 16_000)


def tone(hz, rate, n_samples, dtype=np.float64):
    return np.sin(2 * np.pi * hz * np.arange(n_samples) / rate + 0.3).astype(dtype)


def edge_of(from_hz, to_hz):
    """Samples after resampling whose filter reaches beyond the ends: 64 of the lower rate."""
    return math.ceil(64 * to_hz / min(from_hz, to_hz))


def message_for(path, call=read_audio):
    with pytest.raises(AudioError) as caught:
        call(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# Reading


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff"])
def test_16_bit_samples_are_read_as_32768ths(tmp_path, name):
    soundfile.write(tmp_path / name, PCM16, 11_025, subtype="PCM_16")
    samples, rate = read_audio(tmp_path / name)
    assert rate == 11_025
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, PCM16 / 32768)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff"])
def test_24_bit_samples_are_read_to_the_last_bit(tmp_path, name):
    integers = np.array([-(2**23), -1_234_567, -1, 0, 1, 2**22, 2**23 - 1], np.int32)
    soundfile.write(tmp_path / name, integers << 8, 48_000, subtype="PCM_24")
    samples, rate = read_audio(tmp_path / name)
    assert rate == 48_000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, integers / 2**23)


def test_float_samples_are_read_as_they_are_even_beyond_full_scale(tmp_path):
    values = np.array([0.1, -1.5, 3e-20, 2.5], np.float32)
    soundfile.write(tmp_path / "a.wav", values, 8000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], values)


def test_ogg_is_read_as_the_sound_that_was_written(tmp_path):
    sound = 0.5 * tone(440, 22_050, 22_050)
    soundfile.write(tmp_path / "a.ogg", sound, 22_050)
    samples, rate = read_audio(tmp_path / "a.ogg")
    assert rate == 22_050
    np.testing.assert_allclose(samples, sound, atol=0.03)  # Vorbis is lossy


def test_channels_are_averaged(tmp_path):
    channels = np.array([[100, 300], [-32768, 32766], [7, -7], [1, 0]], np.int16)
    soundfile.write(tmp_path / "a.wav", channels, 16_000)
    np.testing.assert_array_equal(
        read_audio(tmp_path / "a.wav")[0], np.array([200, -1, 0, 0.5], np.float32) / 32768
    )


def test_a_96_khz_stereo_file_is_read_at_16_khz(tmp_path):
    left, right, ultrasound = (tone(hz, 96_000, 48_000) for hz in (440, 3000, 30_000))
    channels = 0.4 * np.stack([left + ultrasound, right + ultrasound], axis=1)
    soundfile.write(tmp_path / "a.wav", channels, 96_000, subtype="FLOAT")
    samples, rate = read_audio(tmp_path / "a.wav", sample_rate=16_000)
    assert rate == 16_000
    assert samples.dtype == np.float32
    audible = 0.2 * (tone(440, 16_000, 8000) + tone(3000, 16_000, 8000))
    np.testing.assert_allclose(samples[64:-64], audible[64:-64], atol=1e-4)


def test_the_sample_rate_is_looked_up(tmp_path):
    for rate, name in [(44_100, "a.wav"), (8000, "a.flac"), (24_000, "a.ogg")]:
        soundfile.write(tmp_path / name, NOISE[:1000], rate)
        assert audio_sample_rate(tmp_path / name) == rate


# Files that are refused


@pytest.mark.parametrize("call", [read_audio, audio_sample_rate])
def test_what_is_no_audio_file_is_refused_by_name(tmp_path, call):
    assert "directory" in message_for(tmp_path, call)
    assert "no such file" in message_for(tmp_path / "missing.wav", call)
    (tmp_path / "empty.wav").touch()
    assert "0 bytes" in message_for(tmp_path / "empty.wav", call)
    (tmp_path / "notes.wav").write_text("Buy milk.\n" * 100)
    assert "not a readable recording" in message_for(tmp_path / "notes.wav", call)


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.aiff", "PCM_16"),
        ("a.au", "PCM_16"),
        ("a.rf64", "PCM_16"),
        ("a.w64", "PCM_16"),
        ("a.mp3", "MPEG_LAYER_III"),
        ("a.ogg", "VORBIS"),
    ],
)
def test_a_truncated_file_is_refused(tmp_path, name, subtype, part):
    path = tmp_path / name
    soundfile.write(path, NOISE, 16_000, subtype=subtype)
    read_audio(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert "truncated" in message_for(path)


def test_a_few_bytes_that_a_wav_counts_too_many_are_forgiven(tmp_path):
    """Some programs count their header as sound; a cut takes more than that."""
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:-44])
    assert len(read_audio(path)[0]) == len(NOISE) - 22
    path.write_bytes(whole[:-1200])
    assert "truncated" in message_for(path)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9])
def test_a_truncated_flac_is_refused(tmp_path, part):
    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, 16_000)
    read_audio(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    message_for(path)


@pytest.mark.parametrize("bytes_left", [0, 2, 4, 5, 26, 27, 500])
def test_an_ogg_cut_at_or_in_its_last_page_is_refused(tmp_path, bytes_left):
    path = tmp_path / "a.ogg"
    soundfile.write(path, NOISE, 16_000)
    read_audio(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"OggS") + bytes_left])
    assert "truncated" in message_for(path)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg"])
def test_a_header_without_samples_is_refused(tmp_path, name):
    soundfile.write(tmp_path / name, np.zeros(0), 16_000)
    assert "holds no samples; record it again" in message_for(tmp_path / name)


@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, -np.inf, [np.inf, -np.inf]], ids=["nan", "inf", "-inf", "opposed"]
)
def test_a_file_with_nan_or_infinite_samples_is_refused(tmp_path, bad):
    channels = np.zeros((9, np.size(bad)))
    channels[5] = bad
    soundfile.write(tmp_path / "a.wav", channels, 16_000, subtype="FLOAT")
    assert "1 of 9 samples are NaN or infinite (the first is number 5)" in message_for(tmp_path / "a.wav")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])  # what ffmpeg and SoX write
def test_a_wav_written_to_a_pipe_is_no_truncated_one(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, PCM16, 16_000)
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = struct.pack("<I", size)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path)[0], PCM16 / 32768)


# Samples that are refused


@pytest.mark.parametrize(
    ("dtype", "kept"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_good_samples_pass_in_float32_or_float64(dtype, kept):
    checked = check_samples(np.array([0.25, -1.5], dtype))
    assert checked.dtype == kept
    np.testing.assert_array_equal(checked, [0.25, -1.5])


def test_good_samples_are_not_copied():
    for dtype in (np.float32, np.float64):
        samples = NOISE.astype(dtype)
        assert check_samples(samples) is samples


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            np.zeros((2, 5)),
            r"^clip: one channel of shape \(N,\) is wanted, not \(2, 5\); average the channels$",
        ),
        (np.array(0.5), r"^clip: one channel .* not \(\)"),
        (np.zeros(5, np.int16), r"^clip: int16 samples; scale them to floats in .* divide by 32768\)$"),
        (np.zeros(5, bool), "^clip: bool samples; "),
        (np.zeros(5, complex), "^clip: complex128 samples; "),
        (np.zeros(0), "^clip: holds no samples$"),
        (np.array([0, 1, np.nan, 0, -np.inf]), r"^clip: 2 of 5 samples .* \(the first is number 2\); mend"),
        (np.array([0, 0, 0, 1e300]), r"^clip: a sample of 1e\+300 is no sound, full scale is 1; scale or"),
        (np.array([0, -5e9, np.nan], np.float32), r"^clip: a sample of 5e\+09 is no sound"),
        (np.array([0, 0, 0, 1e300], np.longdouble), r"^clip: 1 of 4 samples .* number 3\)"),  # as float32
    ],
    ids=[
        "2-D",
        "0-D",
        "integers",
        "flags",
        "complex",
        "none",
        "not finite",
        "too large",
        "too large and not finite",
        "too large for float32",
    ],
)
def test_what_is_no_sound_is_refused(samples, message):
    with pytest.raises(AudioError, match=message):
        check_samples(samples, name="clip")
    with pytest.raises(AudioError, match=message):
        check_samples(samples, name="clip", far_beyond_1="refuse")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 65_535, 65_536, 199_999])
def test_one_bad_sample_in_a_long_clip_is_found(place, bad):
    samples = np.zeros(200_000)
    samples[place] = bad
    with pytest.raises(AudioError, match=f"^samples: 1 of 200000 samples .* number {place}"):
        check_samples(samples)


@pytest.mark.parametrize("loudest", [32.0, -32.0, 12_345.0, -32_768.0, 2.0**32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integers_stored_as_floats_are_warned_about_and_refused_where_they_would_be_scaled(loudest, dtype):
    samples = np.array([0, loudest, 7], dtype)
    message = f"clip: a sample of {abs(loudest):.6g}, but full scale is 1; 16-bit integers: divide by 32768"
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        checked = check_samples(samples, name="clip")
    np.testing.assert_array_equal(checked, samples)
    with pytest.raises(AudioError) as caught:
        check_samples(samples, name="clip", far_beyond_1="refuse")
    assert str(caught.value) == f"{message} (the settings multiply by it again)"


@pytest.mark.parametrize("far_beyond_1", ["warn", "refuse"])
def test_samples_up_to_30_db_above_full_scale_pass(far_beyond_1):
    samples = np.array([0, 31.9, -31.9])
    assert check_samples(samples, far_beyond_1=far_beyond_1) is samples


# Resampling


RATES = [
    (44_100, 16_000),
    (48_000, 16_000),
    (96_000, 16_000),
    (22_050, 16_000),
    (16_000, 8000),
    (8000, 16_000),
    (11_025, 16_000),
    (16_000, 44_100),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_a_resampled_sine_is_the_sine_at_the_new_rate(from_hz, to_hz, dtype):
    edge = edge_of(from_hz, to_hz)
    for part in (0.01, 0.4, 0.9):  # of the lower Nyquist frequency
        hz = part * min(from_hz, to_hz) / 2
        resampled = resample(tone(hz, from_hz, from_hz // 4, dtype), from_hz, to_hz)
        assert resampled.dtype == dtype
        exact = tone(hz, to_hz, len(resampled))
        np.testing.assert_allclose(resampled[edge:-edge], exact[edge:-edge], atol=1e-4)  # 80 dB


@pytest.mark.parametrize(("from_hz", "to_hz"), [rates for rates in RATES if rates[0] > rates[1]])
def test_a_tone_that_does_not_fit_the_new_rate_is_80_db_down(from_hz, to_hz):
    edge = edge_of(from_hz, to_hz)
    for hz in (0.5015 * to_hz, 0.55 * to_hz, 0.49 * from_hz):  # the first is where least is taken away
        rest = resample(tone(hz, from_hz, from_hz // 4), from_hz, to_hz)[edge:-edge]
        assert 20 * np.log10(np.abs(rest).max()) < -80


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_the_new_length_is_the_old_one_times_the_ratio_rounded_up(from_hz, to_hz):
    for n in (1, 2, 3, 160, 1001):
        assert len(resample(np.zeros(n), from_hz, to_hz)) == math.ceil(n * to_hz / from_hz)


def test_equal_rates_leave_the_array_alone():
    assert resample(NOISE, 16_000, 16_000) is NOISE


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 16_000), (16_000, 0), (-8000, 16_000)])
def test_rates_that_are_not_positive_are_refused(from_hz, to_hz):
    with pytest.raises(AudioError, match=f"not {from_hz} and {to_hz}"):
        resample(NOISE, from_hz, to_hz)


def test_integers_are_refused_rather_than_filtered_to_nothing():
    with pytest.raises(AudioError, match="int16 samples cannot be resampled; scale them"):
        resample(PCM16, 8000, 16_000)


def test_a_short_file_is_not_forgiven_what_a_long_one_is(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE[:1000], 16_000)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "truncated" in message_for(path)


@pytest.mark.parametrize("call", [read_audio, audio_sample_rate])
def test_a_file_name_need_not_be_text(tmp_path, call):
    path = tmp_path / os.fsdecode(b"f\xfcnf.wav")
    soundfile.write(tmp_path / "a.wav", PCM16, 16_000)
    (tmp_path / "a.wav").rename(path)
    found = call(path)
    assert (found[1] if isinstance(found, tuple) else found) == 16_000
    message_for(tmp_path / os.fsdecode(b"g\xfc"), call)


# Rates, blocks, and where a warning points


@pytest.mark.parametrize("rate", [0, -1, 8000.0, "8000", True])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 8000)
    with pytest.raises(AudioError, match="a sample rate is a positive whole number of Hz, not "):
        read_audio(path, rate)
    with pytest.raises(AudioError, match="a sample rate is a positive whole number of Hz, not "):
        next(read_audio_blocks(path, rate))


def test_a_bad_sample_of_a_later_block_is_named_by_its_place(tmp_path):
    samples = np.zeros(300, np.float32)
    samples[205] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 100, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a.wav, from sample 200 on: 1 of 100 .* \(the first is number 5\)"):
        list(read_audio_blocks(tmp_path / "a.wav", block_s=1))


def test_loud_blocks_are_warned_of_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(300, 100.0), 100, subtype="FLOAT")
    with pytest.warns(UserWarning, match="a sample of 100") as warned:
        assert len(list(read_audio_blocks(tmp_path / "a.wav", block_s=1))) == 3
    assert len(warned) == 1


def test_a_warning_names_the_line_that_led_to_it():
    with pytest.warns(UserWarning, match="full scale is 1") as warned:
        FeatureSettings()(np.full(400, 99.0), 16_000)
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    ("order", "dtype"), [(">f8", np.float64), (">f4", np.float32), (np.float16, np.float32)]
)
def test_bytes_in_another_order_keep_their_precision(order, dtype):
    checked = check_samples(np.array([0.1, 0.2], order))
    assert checked.dtype == np.dtype(dtype)
    assert checked.dtype.isnative
    np.testing.assert_allclose(checked, [0.1, 0.2], rtol=1e-3)
