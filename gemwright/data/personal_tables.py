"""What personal data is checked against: names at the end of domains, issuers of cards, lengths of IBANs, country
codes of phone numbers."""

from __future__ import annotations

# Two-letter top-level domains (IANA's root zone).
_COUNTRY_DOMAINS = """
    ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc
    cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd
    ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg
    kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv
    mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa
    sb sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug
    uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw"""
COUNTRY_DOMAINS = frozenset(_COUNTRY_DOMAINS.split())
# The longer ones that people have addresses under; not those that are names of attributes in programs.
_DOMAINS = """
    com org net edu gov mil int info biz name pro aero asia cat coop jobs mobi museum post tel travel academy
    agency app art bank berlin bio blog business capital care center charity chat church city cloud club codes coffee
    community company computer consulting cool cymru design dev digital directory doctor earth education email energy
    engineer engineering enterprises estate events expert family farm finance fitness foundation fun fund fyi gallery
    games global gmbh gold green group guide guru haus health help hospital hosting house immo institute international
    koeln land law lawyer legal life limited link live llc london ltd management market marketing media money network
    news ngo ninja nyc one ong online organic paris partners party pharmacy photo photography photos photo plus press
    productions properties pub quebec realty recipes rent report restaurant review reviews rocks sale school science
    scot security services shop show site social software solar solutions space store studio support swiss systems
    taxi team tech technology tips tirol today tokyo tools top tours town toys trade training travel university
    vegas ventures vet video vip vision wales watch website wien wiki work works world wtf xyz yoga zone"""
DOMAINS = frozenset(_DOMAINS.split())

# First and last leading digits, and how many digits in all (ISO/IEC 7812 ranges as the issuers publish them). The
# standard allows 19 digits to all; where none are issued they are left out, since random 64-bit numbers have as many.
CARDS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (16,)),  # Visa; its old 13 digits would be bar codes today
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (6011, 6011, (16,)),  # Discover
    (644, 659, (16,)),
    (3528, 3589, (16,)),  # JCB
    (300, 305, (14, 16)),  # Diners Club
    (36, 36, (14, 16)),
    (38, 39, (14, 16)),
    (62, 62, (16, 19)),  # UnionPay
    (5018, 5018, (12, 13, 14, 15, 16, 19)),  # Maestro
    (5020, 5020, (12, 13, 14, 15, 16, 19)),
    (5038, 5038, (12, 13, 14, 15, 16, 19)),
    (6304, 6304, (12, 13, 14, 15, 16, 19)),
    (6759, 6759, (12, 13, 14, 15, 16, 19)),
    (6761, 6763, (12, 13, 14, 15, 16, 19)),
)

# Characters of an IBAN by country (the SWIFT registry).
_IBAN_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30
    KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28
    PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
    YE30"""
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS.split()}

# Country codes of phone numbers but North America's 1, as a regular expression (ITU-T E.164, list of codes assigned).
COUNTRY_CODES = (
    r"7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|21[12368]|2[2-6][0-9]|29[01789]|35[0-9]|37[0-8]|38[0-35-79]|42[013]|50[0-9]|59[0-9]|67[02-9]|68[0-35-9]|69[0-2]"
    r"|80[08]|85[02356]|87[0-8]|88[0-368]|96[0-8]|97[0-7]|99[2-68]"
)
