"""The manual pages are sound, there is one for each program, and they say what the programs and the schema say."""
import gzip
import re
import unittest

from support import BUILD, SOURCE, install, run


def plain(text):
    """A page's source without troff's escapes."""
    return re.sub(r'\\f[BIR]', '', text).replace('\\-', '-').replace('\\e', '\\').replace('\\(dq', '"')


class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = install()
        cls.pages = {page.name[:-len('.gz')]: page for page in (cls.root / 'usr/share/man').rglob('*.gz')}

    def source(self, name):
        return plain(gzip.open(self.pages[name], 'rt').read())

    def test_every_program_and_the_configuration_have_a_page(self):
        programs = [*(self.root / 'usr/bin').iterdir(), *(self.root / 'usr/libexec/paradoxplex').iterdir()]
        for program in programs:
            self.assertTrue({f'{program.name}.1', f'{program.name}.8'} & set(self.pages), program)
        self.assertIn('paradox.toml.5', self.pages)

    def test_each_page_is_in_its_section_and_found_by_man(self):
        for name, page in self.pages.items():
            self.assertEqual(page.parent.name, f'man{name[-1]}')
            text = run('man', '--warnings', '-E', 'UTF-8', '-l', page)
            self.assertEqual(text.stderr, '', name)
            self.assertIn('NAME', text.stdout)

    def test_no_page_has_anything_that_mandoc_warns_of(self):
        for name, page in self.pages.items():
            if not page.is_symlink():
                self.assertEqual(run('mandoc', '-T', 'lint', '-W', 'warning', BUILD / 'man' / name).stdout, '')

    def test_pages_name_every_option_that_the_programs_have(self):
        for program, page in (('paradoxd', 'paradoxd.8'), ('paradoxctl', 'paradoxctl.1')):
            help_text = run(self.root / 'usr/bin' / program, '--help').stdout
            options = re.findall(r'(?m)^  (?:-\w,)?(--[a-z-]+)', help_text)
            self.assertIn('--version', options)
            for option in options:
                self.assertIn(option, self.source(page), program)

    def test_page_of_paradoxctl_names_every_command_with_its_options(self):
        ctl, page = self.root / 'usr/bin/paradoxctl', self.source('paradoxctl.1')

        def leaves(*path):
            text = run(ctl, *path, '--help').stdout
            below = text.partition('\nSubcommands:\n')[2].partition('\n\n')[0]
            names = re.findall(r'(?m)^  (\S+)', below)
            if not names:
                yield path, text
            for name in names:
                yield from leaves(*path, name)

        commands = list(leaves())
        self.assertGreater(len(commands), 5)
        for path, text in commands:
            entry = re.search(r'(?ms)^\.TP\n' + re.escape(' '.join(path)) + r'[ \n].*?(?=^\.SH)', page)
            self.assertTrue(entry, path)
            for option in re.findall(r'(?m)^  (--[a-z-]+)', text):
                self.assertIn(f'\n{option}', entry[0], path)

    def test_page_of_the_configuration_has_what_its_document_has(self):
        page = self.source('paradox.toml.5')
        section, rows = None, 0
        for line in (SOURCE / 'docs/CONFIGURATION.md').read_text().splitlines():
            if heading := re.match(r'## `(\[.*\])`', line):
                section = page.partition(f'.SH "{heading[1]}"\n')[2].partition('\n.SH ')[0]
                self.assertTrue(section, line)
            elif row := re.match(r'\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$', line):
                rows += 1
                key, kind, default, meaning = (cell.replace('`', '') for cell in row.groups())
                entry = f'\n{key} = {kind}\n{meaning}.\n.br\nDefault: {default}.\n'
                self.assertIn(entry.lower(), f'{section}\n'.lower())
        self.assertGreater(rows, 50)


if __name__ == '__main__':
    unittest.main(verbosity=2)
