"""Codes of languages: what sources call a language, as ISO 639-1 has it."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

# ISO 639-1: its code, those of three letters (ISO 639-2 and 639-3; last the individual language that a macrolanguage
# mostly stands for), and the English name. Where the identifier (language.py) calls a language otherwise, its code
# comes first: Kikuyu, and Norwegian for Bokmål.
_LANGUAGES = """
aa aar Afar|ab abk Abkhazian|ae ave Avestan|af afr Afrikaans|ak aka Akan|am amh Amharic|an arg Aragonese|
ar ara arb Arabic|as asm Assamese|av ava Avaric|ay aym Aymara|az aze azj Azerbaijani|ba bak Bashkir|be bel Belarusian|
bg bul Bulgarian|bi bis Bislama|bm bam Bambara|bn ben Bengali|bo bod tib Tibetan|br bre Breton|bs bos Bosnian|
ca cat Catalan|ce che Chechen|ch cha Chamorro|co cos Corsican|cr cre Cree|cs ces cze Czech|cu chu Church Slavic|
cv chv Chuvash|cy cym wel Welsh|da dan Danish|de deu ger German|dv div Divehi|dz dzo Dzongkha|ee ewe Ewe|
el ell gre Greek|en eng English|eo epo Esperanto|es spa Spanish|et est ekk Estonian|eu eus baq Basque|
fa fas per pes Persian|ff ful Fulah|fi fin Finnish|fj fij Fijian|fo fao Faroese|fr fra fre French|
fy fry Western Frisian|ga gle Irish|gd gla Scottish Gaelic|gl glg Galician|gn grn Guarani|gu guj Gujarati|gv glv Manx|
ha hau Hausa|he heb Hebrew|hi hin Hindi|ho hmo Hiri Motu|hr hrv Croatian|ht hat Haitian|hu hun Hungarian|
hy hye arm Armenian|hz her Herero|ia ina Interlingua|id ind Indonesian|ie ile Interlingue|ig ibo Igbo|
ii iii Sichuan Yi|ik ipk Inupiaq|io ido Ido|is isl ice Icelandic|it ita Italian|iu iku Inuktitut|ja jpn Japanese|
jv jav Javanese|ka kat geo Georgian|kg kon Kongo|kik ki Kikuyu|kj kua Kuanyama|kk kaz Kazakh|kl kal Kalaallisut|
km khm Khmer|kn kan Kannada|ko kor Korean|kr kau Kanuri|ks kas Kashmiri|ku kur kmr Kurdish|kv kom Komi|kw cor Cornish|
ky kir Kyrgyz|la lat Latin|lb ltz Luxembourgish|lg lug Ganda|li lim Limburgish|ln lin Lingala|lo lao Lao|
lt lit Lithuanian|lu lub Luba-Katanga|lv lav lvs Latvian|mg mlg plt Malagasy|mh mah Marshallese|mi mri mao Maori|
mk mkd mac Macedonian|ml mal Malayalam|mn mon khk Mongolian|mr mar Marathi|ms msa may zsm Malay|mt mlt Maltese|
my mya bur Burmese|na nau Nauru|nd nde North Ndebele|ne nep npi Nepali|ng ndo Ndonga|
nl nld dut Dutch|nn nno Norwegian Nynorsk|no nor nb nob Norwegian|nr nbl South Ndebele|nv nav Navajo|ny nya Chichewa|
oc oci Occitan|oj oji Ojibwa|om orm gaz Oromo|or ori ory Odia|os oss Ossetian|pa pan Punjabi|pi pli Pali|
pl pol Polish|ps pus pbt Pashto|pt por Portuguese|qu que quy Quechua|rm roh Romansh|rn run Rundi|ro ron rum Romanian|
ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit|sc srd Sardinian|sd snd Sindhi|se sme Northern Sami|sg sag Sango|
si sin Sinhala|sk slk slo Slovak|sl slv Slovenian|sm smo Samoan|sn sna Shona|so som Somali|sq sqi alb als Albanian|
sr srp Serbian|ss ssw Swati|st sot Southern Sotho|su sun Sundanese|sv swe Swedish|sw swa swh Swahili|ta tam Tamil|
te tel Telugu|tg tgk Tajik|th tha Thai|ti tir Tigrinya|tk tuk Turkmen|tl tgl Tagalog|tn tsn Tswana|to ton Tonga|
tr tur Turkish|ts tso Tsonga|tt tat Tatar|tw twi Twi|ty tah Tahitian|ug uig Uyghur|uk ukr Ukrainian|ur urd Urdu|
uz uzb uzn Uzbek|ve ven Venda|vi vie Vietnamese|vo vol Volapük|wa wln Walloon|wo wol Wolof|xh xho Xhosa|
yi yid ydd Yiddish|yo yor Yoruba|za zha Zhuang|zh zho chi cmn Chinese|zu zul Zulu
"""
_OTHER_NAMES = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "norwegian bokmål": "no"}  # and old codes
_NO_LANGUAGE = {"und", "zxx", "mul", "mis"}  # ISO 639-2: undetermined, none, several, uncoded
_TAG = re.compile(r"([a-z]{2,3})(?:[-_.@][a-z0-9]{1,8})*")  # BCP 47, or a locale such as en_US.UTF-8


def _table() -> dict[str, str]:
    codes = dict(_OTHER_NAMES)
    for entry in _LANGUAGES.replace("\n", "").split("|"):
        code, *others = entry.split(" ")
        names = [word for word in others if not word.islower()]
        codes |= dict.fromkeys([code, *(word for word in others if word.islower()), " ".join(names).lower()], code)
    return codes


_CODES = _table()


def language_code(declared: str) -> str | None:
    """A declared language as ISO 639-1 code, or its code of three letters where it has no shorter one; None where it
    names none.

    Understood are tags of BCP 47 (en-GB; the primary language alone is kept), codes of ISO 639-1, -2 and -3, locales
    (en_US.UTF-8) and English names. A code of three letters that is not known stays: ISO 639-3 has thousands.
    """
    told = declared.strip().lower()
    if told in _CODES:
        return _CODES[told]
    named = re.sub(r"\s*\(.*", "", told)  # Chinese (Simplified)
    if named in _CODES:
        return _CODES[named]
    tag = _TAG.fullmatch(told.replace("utf-8", "utf8"))
    if tag is None or tag[1] in _NO_LANGUAGE:
        return None
    return _CODES.get(tag[1], tag[1] if len(tag[1]) == 3 else None)


def declared_languages(column: pa.Array, of_code: pa.Array) -> pa.Array:
    """What sources call the languages of documents as `language_code` has them; null where that names none. A language
    that code is written in (`of_code` holds) stays as it is."""
    if column.null_count == len(column):
        return column
    coded = column.cast(pa.string()).dictionary_encode()
    codes = pa.array([language_code(name) for name in coded.dictionary.to_pylist()], pa.string())
    return pc.if_else(of_code, column.cast(pa.string()), codes.take(coded.indices))
